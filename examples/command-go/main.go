// Tells a destination how large each push to GitHub was.
//
// A command handler is an ordinary program: one JSON document comes in on stdin, each effect goes out as a line of
// JSON on stdout, stderr is the log, and the exit code says how it went.
package main

import (
	"encoding/json"
	"log"
	"os"
)

const (
	retry  = 75 // it may work later
	reject = 65 // it will never work
)

type input struct {
	Event  struct{ ID, Source, Type string }
	Body   string
	Config struct{ Destination string }
}

type effect struct {
	Effect      string `json:"effect"`
	Destination string `json:"destination"`
	JSON        any    `json:"json"`
}

func main() {
	log.SetFlags(0)
	in := input{}
	in.Config.Destination = "inbox"
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		stop(retry, "no input: ", err)
	}
	if in.Event.Type != "push" {
		return
	}

	var push struct {
		Ref     string
		Commits []any
	}
	if err := json.Unmarshal([]byte(in.Body), &push); err != nil {
		stop(reject, "the body is not JSON: ", err)
	}
	message := map[string]any{"ref": push.Ref, "commits": len(push.Commits)}
	out := effect{"send", in.Config.Destination, message}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		stop(retry, "cannot write: ", err)
	}
}

func stop(code int, why ...any) {
	log.Print(why...)
	os.Exit(code)
}
