import pathlib
import unittest

from rule import Reject, Send, Skip, decide


def sample(name):
    return pathlib.Path(__file__).with_name("samples").joinpath(f"{name}.json").read_text()


class DecisionTest(unittest.TestCase):
    def test_new_issue_is_sent(self):
        text = "acme/river: The gate does not open https://github.com/acme/river/issues/7"
        self.assertEqual(decide(sample("opened")), Send("acme/river", text, urgent=False))

    def test_urgent_issue_is_marked(self):
        self.assertTrue(decide(sample("urgent")).urgent)

    def test_closed_issue_is_skipped(self):
        self.assertEqual(decide(sample("closed")), Skip())

    def test_body_without_an_issue_is_rejected(self):
        self.assertEqual(decide("{}"), Reject("the body has no issue"))
        self.assertIsInstance(decide("no JSON"), Reject)


if __name__ == "__main__":
    unittest.main()
