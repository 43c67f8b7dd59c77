package rule

import "testing"

func TestBranchIsToldOnceAndWhenItWorksAgain(t *testing.T) {
	failed, worked := Build{Branch: "main", Failed: true}, Build{Branch: "main"}
	state, texts := "", 0
	for _, build := range []Build{worked, failed, failed, worked, worked} {
		after, text := build.Follows(state)
		state = after
		if text != "" {
			texts++
		}
	}
	if state != "" || texts != 2 {
		t.Fatalf("%q after %d messages", state, texts)
	}
}

func TestBodyWithoutABuildIsAnError(t *testing.T) {
	for _, body := range []string{"{}", "no JSON"} {
		if _, err := Parse(body); err == nil {
			t.Fatal(body)
		}
	}
}
