//! Logs in over a new connection, by SASL.
//!
//! Source: KIP-152 for the requests, RFC 4616 for PLAIN; `scram` has the other mechanisms.

use rand::RngExt as _;
use weir_core::verify::Secret;

use super::connection::KafkaConnection;
use super::requests::{
    SASL_AUTHENTICATE, SASL_HANDSHAKE, authenticate, authenticated, handshake, mechanisms,
};
use super::scram::{ScramError, ScramExchange};
use crate::config::SaslMechanism;
use crate::egress::transport::SendOutcome;

/// Logs in as a user.
pub(super) async fn log_in(
    connection: &mut KafkaConnection,
    mechanism: SaslMechanism,
    user: &str,
    password: &Secret,
) -> Result<(), SendOutcome> {
    let name = mechanism.name();
    let answer = connection.ask(SASL_HANDSHAKE, &handshake(name)).await?;
    let (error, offered) = mechanisms(answer).map_err(|error| connection.foreign(error))?;
    if error != 0 {
        let offered = offered.join(", ");
        return Err(connection.link().unavailable(format_args!(
            "it does not take {name}, but {offered}; set mechanism to one of them"
        )));
    }
    if mechanism == SaslMechanism::Plain {
        let message = [b"\0", user.as_bytes(), b"\0", password.expose()].concat();
        step(connection, user, &message).await?;
        return Ok(());
    }
    let nonce = hex::encode(rand::rng().random::<[u8; 16]>());
    let exchange = ScramExchange::new(mechanism, user, password.expose(), &nonce);
    let challenge = step(connection, user, exchange.first().as_bytes()).await?;
    let (second, proof) =
        exchange.second(&challenge).map_err(|error| not_followed(connection, error))?;
    let last = step(connection, user, second.as_bytes()).await?;
    proof.check(&last).map_err(|error| not_followed(connection, error))
}

/// Sends a message of the mechanism, and returns the server's.
async fn step(
    connection: &mut KafkaConnection,
    user: &str,
    message: &[u8],
) -> Result<bytes::Bytes, SendOutcome> {
    let answer = connection.ask(SASL_AUTHENTICATE, &authenticate(message)).await?;
    let (error, message) = authenticated(answer).map_err(|error| connection.foreign(error))?;
    if error != 0 {
        // Its words may repeat what was sent.
        return Err(connection.link().unavailable(format_args!(
            "it does not accept the user {user} with this password; set user and password, and see \
             that they are for the mechanism that is set"
        )));
    }
    Ok(message)
}

fn not_followed(connection: &KafkaConnection, error: ScramError) -> SendOutcome {
    connection.link().unavailable(format_args!("the login failed: {error}"))
}
