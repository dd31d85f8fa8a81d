package redis

import "context"

// SetPassword replaces the password of an ACL user, which keeps its permissions. Connections that
// are logged in stay so.
func (s *Server) SetPassword(ctx context.Context, user, password string) error {
	_, err := s.do(ctx, call("set password of "+user, "ACL", "SETUSER", user, "resetpass", ">"+password))
	return err
}

// SetUser makes a user of its rules. If it exists, its connections stay.
func (s *Server) SetUser(ctx context.Context, u UserRules) error {
	_, err := s.do(ctx, setUser(u))
	return err
}

func setUser(u UserRules) command {
	args := []any{"ACL", "SETUSER", u.Name}
	for _, rule := range u.Rules {
		args = append(args, rule)
	}
	return call("set user "+u.Name, args...)
}
