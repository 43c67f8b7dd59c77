//go:build wasip1

// Sends a message when the build of a branch breaks, and one when it works again. Further failures
// of a broken branch are only counted.
package main

import (
	"fmt"

	"handler/rule"
	"handler/weir"
)

func init() { weir.Serve(describe, handle) }

func main() {}

func describe() {
	weir.About("Tells when the build of a branch breaks and when it works again.")
	weir.Subscribe("github:workflow_run")
}

func handle(weir.Event) error {
	body, err := weir.Text()
	if err != nil {
		return err
	}
	build, err := rule.Parse(body)
	if err != nil {
		return weir.Reject(err.Error())
	}
	before, _ := weir.Get(build.Branch)
	after, text := build.Follows(before)
	if after == before {
		return nil
	}
	if err := weir.Set(build.Branch, after); err != nil {
		return err
	}
	weir.Info(fmt.Sprintf("%s: %q after %q", build.Branch, after, before))
	if text == "" {
		return nil
	}
	destination, found := weir.Config("destination")
	if !found {
		destination = "inbox"
	}
	_, err = weir.SendJSON(destination, map[string]string{"text": text})
	return err
}
