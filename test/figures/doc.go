// Package figures is what every measurement needs beside what it measures: samples and their cells
// in a table, the place of a table in a page, the machine that was measured on, and choosing by the
// environment what is measured. The benchmark and the client libraries' test use it.
//
// It measures nothing itself.
package figures
