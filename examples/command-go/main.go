// Sends the number of commits of each push to GitHub to a destination.
//
// A command handler is an ordinary program. It reads one JSON document on stdin and prints each
// effect as a line of JSON on stdout. Stderr is the log, and the exit code is the outcome.
package main

import (
	"encoding/json"
	"log"
	"os"
)

const (
	retry  = 75 // it may succeed later
	reject = 65 // it will never succeed
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
