//! `weir tokens`: makes, lists and revokes tokens of the admin API.

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use super::values;
use crate::api::{CreateTokenBody, CreatedToken, ListPage, Role, TokenView};
use crate::program::output::{Output, or_dash};

/// Make, list and revoke tokens of the admin API
#[derive(Debug, Clone, clap::Args)]
pub struct TokensArgs {
    #[command(subcommand)]
    pub act: TokensAct,
}

/// An act on tokens.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TokensAct {
    /// Make a token and print it, once
    Create {
        /// Name of its holder, for the audit log
        #[arg(value_parser = values::token_name)]
        name: String,
        /// read, operate or admin; each may do all that the one before it may
        #[arg(long)]
        role: Role,
        /// Its end: a time from now, such as 30d, or a time such as 2026-11-23T15:00:00Z [default:
        /// never]
        #[arg(long, value_name = "WHEN", value_parser = values::future_moment)]
        expires: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// List tokens (not the tokens themselves: the hub does not know them)
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Revoke a token: it is refused from now on
    Revoke {
        /// Name of the token
        name: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &TokensArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        TokensAct::Create { name, role, expires, hub } => {
            let body =
                CreateTokenBody { name: name.clone(), role: *role, expires: expires.clone() };
            let created: CreatedToken =
                AdminClient::find(hub)?.post_body("/api/v1/tokens", &body).await?;
            output.answer(&created, |created| created.token.clone());
            if !output.json {
                let until = created.details.expires_at;
                let until = until.map_or_else(String::new, |until| format!(" until {until}"));
                output.problem(&format!(
                    "This token has the role {role}{until}. It is not shown again."
                ));
            }
        }
        TokensAct::List { hub } => {
            let listed: ListPage<TokenView> = AdminClient::find(hub)?.get("/api/v1/tokens").await?;
            let headings = ["NAME", "ROLE", "MADE", "BY", "EXPIRES", "LAST USED"];
            output.list(&listed.items, "no tokens", headings, |token| {
                let TokenView { name, role, created_at, created_by, expires_at, last_used_at } =
                    token.clone();
                let (made, role) = (created_at.to_string(), role.to_string());
                [name, role, made, created_by, or_dash(expires_at), or_dash(last_used_at)]
            });
        }
        TokensAct::Revoke { name, hub } => {
            let path = format!("/api/v1/tokens/{}", path_id(name)?);
            let revoked: TokenView = AdminClient::find(hub)?.delete(&path).await?;
            output.answer(&revoked, |revoked| format!("revoked {}", revoked.name));
        }
    }
    Ok(())
}
