package redis

import "time"

// What the recorded replies in testdata say. They are of three servers and three Sentinels: calm,
// then with the primary killed and one replica promoted.

const (
	replID  = "a9d0ae20fa311f7169e566c2ba949a615652cfbb"
	runID1  = "2e47cc61104134b8784b8b189b9f55ca09337586"
	runID2  = "6a489a802412d9b8e082647025f8b729a84e4d52"
	runID3  = "9e4a1138d4ff33e5c16f57212310813b0fd394e8"
	server1 = "127.0.21.1:17379"
	server2 = "127.0.21.2:17379"
	server3 = "127.0.21.3:17379"
)

var (
	infoPrimary = Info{
		Role: Primary, RunID: runID1, Version: "7.0.15", PID: 26777, Uptime: 13 * time.Second,
		ReplID: replID, Offset: 3872,
		Replicas: []ReplicaLink{
			{Addr: ap(server3), Online: true, Offset: 3872},
			{Addr: ap(server2), Online: true, Offset: 3872},
		},
		GoodReplicas: 2, AOFWriteOK: true, AOFRewriteOK: true, RDBOK: true,
		Keys: 51, UsedMemory: 1457560, Clients: 7,
		Commands: 175, ErrorReplies: 2, FullSyncs: 2,
	}
	infoReplica = Info{
		Role: Replica, RunID: runID2, Version: "7.0.15", PID: 26782, Uptime: 13 * time.Second,
		ReplID: replID, Offset: 3872,
		PrimaryAddr: ap(server1), LinkUp: true, LastIO: time.Second, Priority: 1,
		AOFWriteOK: true, AOFRewriteOK: true, RDBOK: true,
		Keys: 51, UsedMemory: 1315752, Clients: 8, Commands: 157,
	}
	infoLinkDown = Info{
		Role: Replica, RunID: runID3, Version: "7.0.15", PID: 26787, Uptime: 15 * time.Second,
		ReplID: replID, Offset: 3872,
		PrimaryAddr: ap(server1), LinkDownFor: 2 * time.Second, LastIO: -time.Second, Priority: 100,
		AOFWriteOK: true, AOFRewriteOK: true, RDBOK: true,
		Keys: 51, UsedMemory: 1356504, Clients: 7, Commands: 165,
	}
	infoPlaceholder = Info{
		Role: Replica, RunID: "2fc5f93e7e03a4897af6a56f6b026c6c1e9643fa", Version: "7.0.15", PID: 27507,
		ReplID: "ef3a527567ea9ee53bbb91244aa9d5ebb455bed2", Offset: 1,
		PrimaryAddr: placeholder, NeverLinked: true, LastIO: -time.Second,
		AOFWriteOK: true, AOFRewriteOK: true, RDBOK: true,
		UsedMemory: 968440, Clients: 1, Commands: 2,
	}
)

var (
	primaryCalm = PrimaryView{
		RecordAddr: ap(server1), RunID: runID1,
		Quorum: 2, OtherSentinels: 2, Replicas: 2,
		DownAfter: 3 * time.Second, FailoverTimeout: 15 * time.Second,
		InfoAge: 3108 * time.Millisecond, RoleReported: Primary,
	}
	primaryFailover = PrimaryView{
		RecordAddr: ap(server1), RunID: runID1,
		Flags:         Flags{SDown: true, Disconnected: true, FailoverInProgress: true},
		FailoverState: "reconf_slaves", ConfigEpoch: 1,
		Quorum: 2, OtherSentinels: 2, Replicas: 2,
		DownAfter: 3 * time.Second, FailoverTimeout: 15 * time.Second,
		InfoAge: 6380 * time.Millisecond, RoleReported: Primary,
	}
	replicasCalm = []ReplicaView{
		{
			Addr: ap(server3), RunID: runID3, Priority: 100, Offset: 3227, LinkUp: true,
			PrimaryAddr: ap(server1), RoleReported: Replica,
			InfoAge: 3026 * time.Millisecond, PongAge: 824 * time.Millisecond,
		},
		{
			Addr: ap(server2), RunID: runID2, Priority: 1, Offset: 3227, LinkUp: true,
			PrimaryAddr: ap(server1), RoleReported: Replica,
			InfoAge: 3026 * time.Millisecond, PongAge: 824 * time.Millisecond,
		},
	}
	replicasFailover = []ReplicaView{
		{
			Addr: ap(server2), RunID: runID2, Flags: Flags{Promoted: true}, Priority: 1, Offset: 3098, LinkUp: true,
			PrimaryAddr: ap(server1), RoleReported: Primary,
			InfoAge: time.Millisecond, PongAge: 735 * time.Millisecond,
		},
		{
			Addr: ap(server3), RunID: runID3, Priority: 100, Offset: 3872, LinkDownFor: 4 * time.Second,
			PrimaryAddr: ap(server1), RoleReported: Replica,
			PongAge: 735 * time.Millisecond,
		},
	}
	// The killed one was never heard in this role.
	replicasDown = []ReplicaView{
		{
			Addr: ap(server3), RunID: runID3, Priority: 100, Offset: 4669, LinkUp: true,
			PrimaryAddr: ap(server2), RoleReported: Replica,
			InfoAge: 2819 * time.Millisecond, PongAge: 749 * time.Millisecond,
		},
		{
			Addr: ap(server1), Flags: Flags{Disconnected: true}, Priority: 100,
			PongAge: 2897 * time.Millisecond,
		},
	}
	peersCalm = []SentinelView{
		{Addr: ap("127.0.21.2:27379"), RunID: "ebe1956ae38e3e1594367bcee77c7f702ac4c413", HelloAge: 938 * time.Millisecond},
		{Addr: ap("127.0.21.3:27379"), RunID: "760a05379bb59e6e5628db236a34b283861e4da3", HelloAge: 1016 * time.Millisecond},
	}
	sentinelInfoCalm = SentinelInfo{
		RunID: "9ec8ea0cea061e7dd623284ff136d8dd36542e01", Version: "7.0.15",
		Uptime: 13 * time.Second, Primaries: 1,
	}
)
