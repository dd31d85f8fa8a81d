// Package confgen turns plain facts into the files that redis-server and redis-sentinel run with:
// redis.conf, users.acl and sentinel.conf. It also reads back what those programs wrote into their
// files themselves, and carries over what is theirs: a run-time change that an operator made
// permanent, users that an operator added, and the whole state of a Sentinel.
//
// It is directives in, text out: pure and deterministic, one input always giving the same bytes. It
// never touches a file, a process or the network, and it does not judge values; that is
// redis-server's to do, see [TrialConf]. The agent calls it. What it knows of single directives is
// in internal/directive.
//
// # Who owns which line
//
// A directive is owned, default or free:
//
//   - Owned directives ([directive.Owned]) are redisd's means of keeping the cluster
//     together. Their value is written afresh every time; nobody else's counts.
//   - Default directives ([directive.Defaults]) are those for which redisd has a
//     better value than redis-server has. [redis.directives] in redisd.toml
//     overrides them, and so does CONFIG SET followed by CONFIG REWRITE.
//   - All others are free. [redis.directives] sets them, or CONFIG SET followed by
//     CONFIG REWRITE does; where both do, redisd.toml wins.
//
// [Merge] says how the text of an existing file tells these apart.
//
// # Passwords
//
// The files of redis-server and redis-sentinel hold the passwords with which they log in elsewhere
// in clear; that cannot be avoided. Those that users log in with are hashed. redis.conf and
// sentinel.conf must therefore be 0600, and since both programs give the file that they rewrite the
// mode 0644 less their umask, they must be started with the umask 0077.
package confgen
