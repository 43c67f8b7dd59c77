package rule

import (
	"errors"
	"os"
	"testing"
)

func decide(t *testing.T, sample string) (Message, error) {
	t.Helper()
	body, err := os.ReadFile("../samples/" + sample + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return Decide(string(body))
}

func TestNewIssueIsSent(t *testing.T) {
	message, err := decide(t, "opened")
	want := Message{
		Repository: "acme/river",
		Text:       "acme/river: The gate does not open https://github.com/acme/river/issues/7",
	}
	if err != nil || message != want {
		t.Fatalf("%+v, %v", message, err)
	}
}

func TestUrgentIssueIsMarked(t *testing.T) {
	if message, err := decide(t, "urgent"); err != nil || !message.Urgent {
		t.Fatalf("%+v, %v", message, err)
	}
}

func TestClosedIssueIsSkipped(t *testing.T) {
	if _, err := decide(t, "closed"); !errors.Is(err, ErrSkip) {
		t.Fatal(err)
	}
}

func TestBodyWithoutAnIssueIsRejected(t *testing.T) {
	for _, body := range []string{"{}", "no JSON"} {
		if _, err := Decide(body); err == nil || errors.Is(err, ErrSkip) {
			t.Fatalf("%s: %v", body, err)
		}
	}
}
