//! The meaning of an error code. Pure.
//!
//! Source: "Error Codes" in the protocol guide of Apache Kafka.

use super::cluster::Cluster;
use crate::egress::transport::{SendOutcome, Subject};

/// The consequence of an error, with its name and the advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The partition is led by another server, or will be soon.
    Moved(&'static str),
    /// The topic cannot be used.
    Topic(&'static str),
    /// No message can be taken now.
    Cluster(&'static str),
    Load(&'static str),
    Message(&'static str),
    Failure(&'static str),
}

pub(super) fn meaning(code: i16) -> Meaning {
    match code {
        3 => Meaning::Moved("UNKNOWN_TOPIC_OR_PARTITION: make the topic, or correct topic"),
        5 => Meaning::Moved("LEADER_NOT_AVAILABLE: it recovers by itself, or look at the cluster"),
        6 => {
            Meaning::Moved("NOT_LEADER_OR_FOLLOWER: it recovers by itself, or look at the cluster")
        }
        7 => Meaning::Cluster("REQUEST_TIMED_OUT: replicas did not confirm in time"),
        8 | 9 => Meaning::Moved("BROKER_NOT_AVAILABLE: look at the cluster"),
        10 => Meaning::Message("MESSAGE_TOO_LARGE: raise max.message.bytes of the topic"),
        17 => Meaning::Topic("INVALID_TOPIC_EXCEPTION: correct topic"),
        18 => Meaning::Message("RECORD_LIST_TOO_LARGE: raise segment.bytes of the topic"),
        19 | 20 => Meaning::Cluster(
            "NOT_ENOUGH_REPLICAS: fewer replicas are in sync than min.insync.replicas; look at the \
             cluster",
        ),
        29 => Meaning::Topic("TOPIC_AUTHORIZATION_FAILED: permit the user WRITE on the topic"),
        31 => Meaning::Cluster("CLUSTER_AUTHORIZATION_FAILED: permit the user to write"),
        35 => Meaning::Cluster("UNSUPPORTED_VERSION: Kafka must be 1.0 or later"),
        44 => Meaning::Message("POLICY_VIOLATION: a policy of the cluster forbids the message"),
        56 => Meaning::Moved("KAFKA_STORAGE_ERROR: a disk of the leader fails; look at its log"),
        72 | 74 | 75 => Meaning::Moved("the leader has changed: it recovers by itself"),
        87 => Meaning::Message(
            "INVALID_RECORD: the topic does not take it; is it compacted, and the \
                                message without a key?",
        ),
        89 => Meaning::Load("THROTTLING_QUOTA_EXCEEDED"),
        _ => Meaning::Failure("see the log of the server"),
    }
}

/// The outcome of the messages that the code is about.
pub(super) fn outcome(code: i16, cluster: &Cluster) -> SendOutcome {
    let link = cluster.link();
    let refused = |about: Subject, what: &str| SendOutcome::Refused {
        about,
        reason: format!("{}: error {code}, {what}", link.server().address()).into(),
    };
    match meaning(code) {
        Meaning::Cluster(what) => link.unavailable(format_args!("error {code}, {what}")),
        Meaning::Moved(what) | Meaning::Topic(what) => match cluster.settings().topic.is_fixed() {
            true => link.unavailable(format_args!("error {code}, {what}")),
            // Other events may have topics that work.
            false => refused(Subject::Failure, what),
        },
        Meaning::Load(what) => refused(Subject::Load, what),
        Meaning::Message(what) => refused(Subject::Message, what),
        Meaning::Failure(what) => refused(Subject::Failure, what),
    }
}
