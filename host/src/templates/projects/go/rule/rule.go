// Package rule decides about an event. It calls no host function, so that `go test ./rule` runs it
// without a hub.
package rule

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrSkip tells that there is nothing to do.
var ErrSkip = errors.New("nothing to do")

// Message is what is sent for an issue.
type Message struct {
	Repository string
	Text       string
	Urgent     bool
}

// Decide decides by the body of an event of the type `issues`. An error other than ErrSkip means
// that the event can never be handled.
func Decide(body string) (Message, error) {
	var event struct {
		Action string
		Issue  *struct {
			Title   string
			HTMLURL string `json:"html_url"`
			Labels  []struct{ Name string }
		}
		Repository struct {
			FullName string `json:"full_name"`
		}
	}
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		return Message{}, fmt.Errorf("the body is not JSON: %w", err)
	}
	if event.Issue == nil {
		return Message{}, errors.New("the body has no issue")
	}
	if event.Action != "opened" {
		return Message{}, ErrSkip
	}
	message := Message{Repository: event.Repository.FullName}
	message.Text = fmt.Sprintf("%s: %s %s", message.Repository, event.Issue.Title, event.Issue.HTMLURL)
	for _, label := range event.Issue.Labels {
		message.Urgent = message.Urgent || label.Name == "urgent"
	}
	return message, nil
}
