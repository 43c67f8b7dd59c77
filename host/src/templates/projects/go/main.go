//go:build wasip1

// The handler: sends a message for each issue that is opened on GitHub. What it decides is in the
// package rule.
package main

import (
	"errors"
	"fmt"

	"handler/rule"
	"handler/weir"
)

func init() { weir.Serve(describe, handle) }

// main does not run: the hub calls the functions that are given to Serve.
func main() {}

func describe() {
	weir.About("Sends a message for each new issue.")
	weir.Subscribe("github:issues")
}

func handle(weir.Event) error {
	if paused, _ := weir.Config("paused"); paused == "true" {
		return weir.Retry("paused in [config]")
	}
	body, err := weir.Text()
	if err != nil {
		return err
	}
	message, err := rule.Decide(body)
	if errors.Is(err, rule.ErrSkip) {
		return nil
	}
	if err != nil {
		return weir.Reject(err.Error())
	}

	count, err := weir.Add("opened/"+message.Repository, 1)
	if err != nil {
		return err
	}
	weir.Info(fmt.Sprintf("issue number %d of %s", count, message.Repository))

	destination, found := weir.Config("destination")
	if !found {
		destination = "inbox"
	}
	texts := []string{message.Text}
	if message.Urgent {
		texts = append(texts, message.Repository+" has an urgent issue")
	}
	for _, text := range texts {
		if _, err := weir.SendJSON(destination, map[string]any{"text": text, "count": count}); err != nil {
			return err
		}
	}
	return nil
}
