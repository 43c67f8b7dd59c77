//! One connection to a server of a cluster: a request at a time, each with its answer.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::requests::{
    API_VERSIONS, Api, METADATA, OfferedVersions, PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE,
    framed,
};
use super::wire::Malformed;
use crate::egress::server::{ServerLink, ServerStream, chain};
use crate::egress::transport::SendOutcome;

/// Bytes of an answer that are read. One about a cluster with 10,000 partitions has half of that.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request without an answer.
pub(super) enum AskError {
    /// The connection broke.
    Broken(SendOutcome),
    /// No answer came in time, and none is to be expected from another try.
    Silent(SendOutcome),
}

impl From<AskError> for SendOutcome {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Broken(outcome) | AskError::Silent(outcome) => outcome,
        }
    }
}

/// An open connection. It is usable only while no request is on its way.
pub(super) struct KafkaConnection {
    stream: ServerStream,
    link: ServerLink,
    correlation: i32,
}

impl KafkaConnection {
    /// Connects, and checks that the server has the requests that are needed.
    pub(super) async fn open(link: &ServerLink, with_login: bool) -> Result<Self, SendOutcome> {
        let stream = link.connect().await.map_err(|error| link.unreached(&error))?;
        let mut open = Self { stream, link: link.clone(), correlation: 0 };
        let answer = open.ask(API_VERSIONS, &[]).await?;
        let offered = OfferedVersions::of_answer(answer).map_err(|error| open.foreign(error))?;
        let needed = [PRODUCE, METADATA].into_iter();
        let login = [SASL_HANDSHAKE, SASL_AUTHENTICATE].into_iter().filter(|_| with_login);
        if !needed.chain(login).all(|api| offered.have(api)) {
            return Err(link.unavailable(
                "this version of Kafka lacks requests that are needed; it must be 1.0 or later",
            ));
        }
        Ok(open)
    }

    pub(super) fn link(&self) -> &ServerLink {
        &self.link
    }

    /// Sends a request and reads its answer, without the header. After an error, or if the future
    /// is dropped, the connection must not be used again.
    pub(super) async fn ask(&mut self, api: Api, body: &[u8]) -> Result<Bytes, AskError> {
        let limit = self.link.server().timeout;
        let link = self.link.clone();
        match tokio::time::timeout(limit, self.exchange(api, body)).await {
            Ok(answered) => answered.map_err(AskError::Broken),
            Err(_) => Err(AskError::Silent(link.silent())),
        }
    }

    async fn exchange(&mut self, api: Api, body: &[u8]) -> Result<Bytes, SendOutcome> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = framed(api, self.correlation, body);
        let link = self.link.clone();
        let broken = |error: std::io::Error| {
            let said = chain(&error);
            link.unavailable(format_args!(
                "the connection broke: {said}; does the server expect TLS, or a user?"
            ))
        };
        self.stream.write_all(&frame).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let length = self.stream.read_i32().await.map_err(broken)?;
        let length = usize::try_from(length).ok().filter(|n| (4..=ANSWER_BYTES_MAX).contains(n));
        let mut answer = vec![0; length.ok_or_else(|| self.foreign(Malformed))?];
        self.stream.read_exact(&mut answer).await.map_err(broken)?;
        let mut answer = Bytes::from(answer);
        let correlation = answer.split_to(4);
        if correlation[..] != self.correlation.to_be_bytes() {
            return Err(self.foreign(Malformed));
        }
        Ok(answer)
    }

    /// The outcome of an answer that Kafka does not give.
    pub(super) fn foreign(&self, error: Malformed) -> SendOutcome {
        self.link.unavailable(format_args!("does not answer as Kafka does: {error}; look at url"))
    }
}
