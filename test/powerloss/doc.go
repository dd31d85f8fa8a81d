// Package powerloss shows what a program leaves on disk when the power goes, at every moment of
// what it does. Record runs the program once, under strace, and keeps every system call that
// changed a file of one folder. Play then stops after each of them, keeps what the program had made
// durable (a file's content by fsync of the file, a name by fsync of the folder that it is in), any
// part of the rest, and has the program's own reading code look at the outcome.
//
// The disk of this model promises less than a file system that keeps a journal: what was not synced
// may be there or not, each by itself, in any order, and a write half. What it does promise is that
// a rename is there or is not. The tests of packages that write files call it; it never writes to
// the folder that a program runs in.
package powerloss
