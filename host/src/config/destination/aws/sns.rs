//! The `sns` kind: a topic, by its ARN.

use http::Uri;

use super::super::DestinationDefaults;
use super::{AwsAccount, FIFO, NamedPlace, account};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

/// A topic of SNS.
#[derive(Debug, Clone)]
pub struct SnsSettings {
    pub account: AwsAccount,
    pub topic_arn: String,
    /// The last part of the ARN.
    pub topic: Box<str>,
    /// True if the topic keeps the order of each group.
    pub is_fifo: bool,
}

/// Reads the settings of a destination of this kind.
pub(in crate::config::destination) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<SnsSettings> {
    let topic_arn = section.must::<String>("topic_arn");
    let name = topic_arn.as_deref().and_then(|arn| match parsed(arn) {
        Some(name) => Some(name),
        None => {
            let what = "is not the ARN of a topic, such as \
                        \"arn:aws:sns:eu-west-1:123456789012:orders\"";
            section.problem("topic_arn", what);
            None
        }
    });
    let place = name.as_ref().map(TopicName::place);
    let account = account(section, "topic_arn", place, defaults, trust, context);
    let topic = name?.topic.into();
    let topic_arn = topic_arn.clone()?;
    let is_fifo = topic_arn.ends_with(FIFO);
    Some(SnsSettings { account: account?, topic_arn, topic, is_fifo })
}

/// The parts of an ARN that matter.
struct TopicName<'a> {
    partition: &'a str,
    region: &'a str,
    topic: &'a str,
}

fn parsed(arn: &str) -> Option<TopicName<'_>> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "sns", region, _, topic] = parts[..] else { return None };
    (!topic.is_empty()).then_some(TopicName { partition, region, topic })
}

impl TopicName<'_> {
    fn place(&self) -> NamedPlace {
        let region = (!self.region.is_empty()).then(|| self.region.to_owned());
        NamedPlace { endpoint: self.endpoint(), region }
    }

    /// The endpoint of its region; none for a partition that is not open to everyone.
    fn endpoint(&self) -> Option<Uri> {
        let suffix = match self.partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            "aws-eusc" => "amazonaws.eu",
            _ => return None,
        };
        format!("https://sns.{}.{suffix}/", self.region).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, with_keys};
    use super::*;
    use crate::config::TransportSettings;

    fn sns(settings: &str) -> SnsSettings {
        match with_keys(&format!("kind = \"sns\"\n{settings}")) {
            TransportSettings::Sns(sns) => *sns,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_arn_says_the_rest() {
        for (arn, address, region) in [
            (
                "arn:aws:sns:eu-west-1:123456789012:orders",
                "https://sns.eu-west-1.amazonaws.com:443",
                "eu-west-1",
            ),
            (
                "arn:aws-cn:sns:cn-north-1:123456789012:orders.fifo",
                "https://sns.cn-north-1.amazonaws.com.cn:443",
                "cn-north-1",
            ),
        ] {
            let made = sns(&format!("topic_arn = \"{arn}\""));
            assert_eq!(made.account.server.address(), address);
            assert_eq!((&*made.account.region, made.topic_arn.as_str()), (region, arn));
            assert_eq!(made.is_fifo, arn.ends_with(".fifo"));
        }
        let made = sns("topic_arn = \"arn:aws:sns:us-east-1:1:a\"\nendpoint = \"http://h:4566\"");
        assert_eq!((made.account.server.address().as_str(), &*made.topic), ("http://h:4566", "a"));
    }

    #[test]
    fn mistakes_are_named() {
        for (settings, path) in [
            ("", "topic_arn"),
            ("topic_arn = \"orders\"", "topic_arn"),
            ("topic_arn = \"arn:aws:sqs:eu-west-1:1:orders\"", "topic_arn"),
            ("topic_arn = \"arn:aws-iso:sns:us-iso-east-1:1:orders\"", "endpoint"),
            ("topic_arn = \"arn:aws:sns::1:orders\"\nendpoint = \"http://h\"", "region"),
        ] {
            let found = problems(&format!("kind = \"sns\"\n{settings}"));
            assert!(found.iter().any(|problem| problem == path), "{settings}: {found:?}");
        }
    }
}
