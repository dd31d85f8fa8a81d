package redis

import "context"

// SetPassword replaces the password of an ACL user, which keeps its permissions. Connections that
// are logged in stay so.
func (s *Server) SetPassword(ctx context.Context, user, password string) error {
	_, err := s.do(ctx, call("set password of "+user, "ACL", "SETUSER", user, "resetpass", ">"+password))
	return err
}
