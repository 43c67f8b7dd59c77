//! The requests that a producer needs, each in one version, and their answers. Pure.
//!
//! Source: the protocol guide of Apache Kafka. The versions are those that every server from 1.0 to
//! 4 has (KIP-896 says what 4 left out).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::wire::{FieldReader, FieldWriter, Malformed};

/// The name by which the server knows this client in its log.
const CLIENT_ID: &str = "weir";
/// Every replica that is in sync has to confirm.
const ACKS_ALL: i16 = -1;

/// A kind of request with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) version: i16,
}

pub(super) const PRODUCE: Api = Api { key: 0, version: 3 };
pub(super) const METADATA: Api = Api { key: 3, version: 4 };
pub(super) const SASL_HANDSHAKE: Api = Api { key: 17, version: 1 };
pub(super) const API_VERSIONS: Api = Api { key: 18, version: 0 };
pub(super) const SASL_AUTHENTICATE: Api = Api { key: 36, version: 0 };

/// A request with its length and header.
pub(super) fn framed(api: Api, correlation: i32, body: &[u8]) -> Bytes {
    let mut header = FieldWriter::default();
    header.i16(api.key).i16(api.version).i32(correlation).text(CLIENT_ID);
    let header = header.finish();
    let mut frame = FieldWriter::default();
    frame.bytes(&[&header[..], body].concat());
    frame.finish()
}

/// The versions of each kind of request that a server has.
#[derive(Debug)]
pub(super) struct OfferedVersions(BTreeMap<i16, RangeInclusive<i16>>);

impl OfferedVersions {
    pub(super) fn of_answer(answer: Bytes) -> Result<Self, Malformed> {
        let mut fields = FieldReader::new(answer);
        // With an error the list is empty, or short.
        let _error = fields.i16()?;
        let ranges = fields.list(|of| Ok((of.i16()?, of.i16()?..=of.i16()?)))?;
        Ok(Self(ranges.into_iter().collect()))
    }

    pub(super) fn have(&self, api: Api) -> bool {
        self.0.get(&api.key).is_some_and(|versions| versions.contains(&api.version))
    }
}

/// Asks for the partitions of topics, and for no topic to be made.
pub(super) fn metadata(topics: &[String]) -> Bytes {
    let mut fields = FieldWriter::default();
    fields.list(topics.iter(), |to, topic| {
        to.text(topic);
    });
    fields.bool(false);
    fields.finish()
}

/// The servers of a cluster, and the topics that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) servers: Vec<NodeAddress>,
    pub(super) topics: Vec<TopicLayout>,
}

/// A server as the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeAddress {
    pub(super) node: i32,
    pub(super) host: String,
    pub(super) port: u16,
}

impl NodeAddress {
    pub(super) fn address(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }
}

/// The partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicLayout {
    pub(super) error: i16,
    pub(super) name: String,
    /// The leader of each partition, by its number; none for one without a leader.
    pub(super) leaders: Vec<Option<i32>>,
}

pub(super) fn metadata_of(answer: Bytes) -> Result<Metadata, Malformed> {
    let mut fields = FieldReader::new(answer);
    let _throttled = fields.i32()?;
    let servers = fields.list(|of| {
        let (node, host, port) = (of.i32()?, of.text()?, of.i32()?);
        let server = NodeAddress { node, host, port: u16::try_from(port).map_err(|_| Malformed)? };
        let _rack = of.maybe_text()?;
        Ok(server)
    })?;
    let _cluster = fields.maybe_text()?;
    let _controller = fields.i32()?;
    let topics = fields.list(|of| {
        let error = of.i16()?;
        let name = of.text()?;
        let _internal = of.bool()?;
        let mut partitions = of.list(|of| {
            let _error = of.i16()?;
            let (index, leader) = (of.i32()?, of.i32()?);
            let _replicas = of.list(FieldReader::i32)?;
            let _in_sync = of.list(FieldReader::i32)?;
            Ok((index, leader))
        })?;
        partitions.sort_unstable();
        let leaders = partitions.into_iter().map(|(_, leader)| (leader >= 0).then_some(leader));
        Ok(TopicLayout { error, name, leaders: leaders.collect() })
    })?;
    Ok(Metadata { servers, topics })
}

/// Batches of records for the partitions of a topic.
pub(super) type TopicBatches<'a> = BTreeMap<&'a str, BTreeMap<usize, Bytes>>;

/// Appends batches to partitions, and waits for the confirmation of all replicas for this time.
pub(super) fn produce(topics: &TopicBatches<'_>, timeout_ms: i32) -> Bytes {
    let mut fields = FieldWriter::default();
    fields.no_text().i16(ACKS_ALL).i32(timeout_ms);
    fields.list(topics.iter(), |to, (topic, partitions)| {
        to.text(topic).list(partitions.iter(), |to, (partition, records)| {
            to.i32(super::wire::length(*partition)).bytes(records);
        });
    });
    fields.finish()
}

/// The error code of each partition in an answer to [`produce`].
pub(super) fn produced(answer: Bytes) -> Result<BTreeMap<(String, usize), i16>, Malformed> {
    let mut fields = FieldReader::new(answer);
    let topics = fields.list(|of| {
        let name = of.text()?;
        let partitions = of.list(|of| {
            let index = usize::try_from(of.i32()?).map_err(|_| Malformed)?;
            let error = of.i16()?;
            let (_offset, _appended_at) = (of.i64()?, of.i64()?);
            Ok((index, error))
        })?;
        Ok((name, partitions))
    })?;
    let each = topics.into_iter().flat_map(|(name, partitions)| {
        partitions.into_iter().map(move |(index, error)| ((name.clone(), index), error))
    });
    Ok(each.collect())
}

/// Asks to log in by this mechanism.
pub(super) fn handshake(mechanism: &str) -> Bytes {
    FieldWriter::default().text(mechanism).finish()
}

/// The error code of an answer to [`handshake`], and the mechanisms that the server has.
pub(super) fn mechanisms(answer: Bytes) -> Result<(i16, Vec<String>), Malformed> {
    let mut fields = FieldReader::new(answer);
    Ok((fields.i16()?, fields.list(FieldReader::text)?))
}

/// A message of the mechanism.
pub(super) fn authenticate(message: &[u8]) -> Bytes {
    FieldWriter::default().bytes(message).finish()
}

/// The error code of an answer to [`authenticate`], and the message of the server.
pub(super) fn authenticated(answer: Bytes) -> Result<(i16, Bytes), Malformed> {
    let mut fields = FieldReader::new(answer);
    let error = fields.i16()?;
    let _said = fields.maybe_text()?;
    Ok((error, fields.bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length_and_header() {
        let frame = framed(API_VERSIONS, 7, b"");
        assert_eq!(&frame[..], b"\0\0\0\x0e\0\x12\0\0\0\0\0\x07\0\x04weir");
    }

    #[test]
    fn partitions_are_in_the_order_of_their_numbers() {
        let mut fields = FieldWriter::default();
        fields.i32(0);
        fields.list([(1, "a"), (2, "b")].into_iter(), |to, (node, host)| {
            to.i32(node).text(host).i32(9092).no_text();
        });
        fields.no_text().i32(1);
        fields.list(["orders"].into_iter(), |to, name| {
            to.i16(0).text(name).bool(false);
            to.list([(2, 1), (0, 2), (1, -1)].into_iter(), |to, (index, leader)| {
                to.i16(0).i32(index).i32(leader).i32(0).i32(0);
            });
        });
        let answer = fields.finish();
        let metadata = metadata_of(answer.clone()).unwrap();
        assert_eq!(metadata.topics[0].leaders, [Some(2), None, Some(1)]);
        assert_eq!(metadata.servers[1], NodeAddress { node: 2, host: "b".into(), port: 9092 });
        for cut in 0..answer.len() {
            assert_eq!(metadata_of(answer.slice(..cut)), Err(Malformed), "cut after {cut} bytes");
        }
    }
}
