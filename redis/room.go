package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// makeRoom raises maxclients over the spare connection, so that the agent's others fit.
func (d *Door) makeRoom(ctx context.Context) error {
	most, used, err := d.clients(ctx)
	if err != nil || used < most { // somebody has made room, or gone, meanwhile
		return err
	}
	room := d.room
	if room.PID != d.o.PID() || room.Now != most {
		room = Room{PID: d.o.PID(), Was: most}
	}
	if room.Now = most + roomStep; room.Now > room.Was+roomMost {
		return errNoRoom
	}
	d.remember(room)
	if err := d.over(ctx, []string{"CONFIG", "SET", "maxclients", strconv.Itoa(room.Now)}); err != nil {
		return err
	}
	d.o.Said("maxclients_raised", fmt.Sprintf("clients have taken all %d connections of redis-server: maxclients is %d for now, so that the agent gets in", room.Was, room.Now))
	return nil
}

// giveBackRoom sets maxclients to what it was, once that is enough.
func (d *Door) giveBackRoom(ctx context.Context) error {
	if d.room.Was == 0 || d.room.PID != d.o.PID() {
		return nil
	}
	most, used, err := d.clients(ctx)
	if err != nil {
		return err
	}
	if most != d.room.Now { // an operator has set it since
		d.remember(Room{})
		return nil
	}
	if used+roomLeft > d.room.Was {
		return nil
	}
	if err := d.over(ctx, []string{"CONFIG", "SET", "maxclients", strconv.Itoa(d.room.Was)}); err != nil {
		return err
	}
	d.o.Said("maxclients_restored", fmt.Sprintf("%d connections are in use: maxclients is %d again", used, d.room.Was))
	d.remember(Room{})
	return nil
}

// clients are how many connections there may be, and how many there are.
func (d *Door) clients(ctx context.Context) (most, used int, err error) {
	value, err := d.directive(ctx, "maxclients")
	if err != nil {
		return 0, 0, err
	}
	if most, err = strconv.Atoi(value); err != nil {
		return 0, 0, fmt.Errorf("read maxclients: %w", err)
	}
	for _, section := range []string{"clients", "replication"} {
		reply, err := d.askSpare(ctx, "INFO", section)
		if err != nil {
			return 0, 0, err
		}
		text, _ := reply.(string)
		used += connections(text)
	}
	return most, used, nil
}

// connections adds up what counts against maxclients: connected_clients leaves the replicas out.
func connections(info string) (n int) {
	for line := range strings.Lines(info) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "connected_clients", "cluster_connections", "connected_slaves":
			n += int(integer(value))
		}
	}
	return n
}

func (d *Door) remember(r Room) {
	d.room = r
	if d.o.Remember != nil {
		d.o.Remember(r)
	}
}

func (d *Door) directive(ctx context.Context, name string) (string, error) {
	reply, err := d.askSpare(ctx, "CONFIG", "GET", name)
	if err != nil {
		return "", err
	}
	value, _ := fieldsOf(reply)[name].(string)
	return value, nil
}
