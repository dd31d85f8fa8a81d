package bench

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/ways"
)

const (
	manyKeys   = 1_000_000
	fillScript = `for i=0,99 do redis.call('SET','many:'..ARGV[1]..':'..i,string.rep('x',100)) end return 1`
	fillBatch  = 50 // scripts at once: five thousand keys
)

// fillUp sees to it that a million keys of 100 bytes are there.
func fillUp(ctx context.Context, r *ways.Running) error {
	c := r.Dial(r.Service, r.Password)
	defer c.Close()
	n, err := c.DBSize(ctx).Result()
	if err != nil || n >= manyKeys {
		return err
	}
	for i := 0; i < manyKeys/100; i += fillBatch {
		_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for j := range fillBatch {
				p.Eval(ctx, fillScript, nil, i+j)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("fill the dataset: %w", err)
		}
	}
	return nil
}
