// Package rule decides what a finished build says about its branch.
package rule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Build is a finished build of a branch.
type Build struct {
	Branch string
	Failed bool
	URL    string
}

// Parse reads the body of an event `workflow_run`. The branch is empty while the build runs.
func Parse(body string) (Build, error) {
	var event struct {
		Action string
		Run    *struct {
			Conclusion string
			Branch     string `json:"head_branch"`
			URL        string `json:"html_url"`
		} `json:"workflow_run"`
		Repository struct {
			Name string `json:"full_name"`
		}
	}
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		return Build{}, fmt.Errorf("the body is not JSON: %w", err)
	}
	if event.Run == nil {
		return Build{}, errors.New("the body has no workflow_run")
	}
	branch := event.Repository.Name + "@" + event.Run.Branch
	return Build{Branch: branch, Failed: event.Run.Conclusion == "failure", URL: event.Run.URL}, nil
}

// Follows returns the state of the branch after this build, and the message that is due. A state is
// empty, or `broken` and the number of failures.
func (build Build) Follows(before string) (after, text string) {
	number, broken := strings.CutPrefix(before, "broken ")
	failures, _ := strconv.Atoi(number)
	switch {
	case build.Failed && broken:
		return fmt.Sprintf("broken %d", failures+1), ""
	case build.Failed:
		return "broken 1", fmt.Sprintf("%s is broken: %s", build.Branch, build.URL)
	case broken:
		return "", fmt.Sprintf("%s works again after %d failures", build.Branch, failures)
	default:
		return before, ""
	}
}
