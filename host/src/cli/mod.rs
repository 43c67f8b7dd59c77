//! The command line: one binary, one file a command. Commands print through `program::output` and
//! end with a code of `program::exit`.
//!
//! Nothing else imports it: `serve` and `demo`, which run a hub, are called from here.

mod audit;
mod backtest;
mod backup;
mod bench;
mod cancel;
mod check;
mod check_module;
mod client;
mod compile;
mod confirm_time;
mod dead_letters;
mod describe;
mod destinations;
mod erase;
mod error;
mod event_stream;
mod events;
mod exported;
mod find;
mod handlers;
mod health;
mod holds;
mod init;
mod jobs;
mod listen;
mod logs;
mod new;
mod offline;
mod open;
mod openapi;
mod probe;
mod provider_account;
mod providers;
mod quarantine;
mod reconcile;
mod register;
mod release_result;
mod replay;
mod rerun;
mod retry;
mod run;
mod schedules;
mod secret;
mod send;
mod sign;
mod signing_plan;
mod sources;
mod stats;
mod test;
mod tokens;
mod top;
mod unreadable;
mod upgrade;
mod usage;
mod values;
mod why;

use std::pin::Pin;
use std::process::ExitCode;

use crate::config::DEFAULTS;
use crate::demo::{self, DemoArgs};
use crate::program::exit::Exit;
use crate::program::output::{Output, report};
use crate::serve::{self, ServeArgs};
use error::CommandError;

pub use client::HubArgs;

/// Verify, store and route webhooks to sandboxed handlers
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "weir", version, about, after_help = exit_codes())]
pub struct Cli {
    /// Print results as JSON, one document per line
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
    Init(init::InitArgs),
    New(new::NewArgs),
    Check(check::CheckArgs),
    Health(health::HealthArgs),
    Run(run::RunArgs),
    Test(test::TestArgs),
    Send(send::SendArgs),
    Probe(probe::ProbeArgs),
    Listen(listen::ListenArgs),
    Register(register::RegisterArgs),
    Reconcile(reconcile::ReconcileArgs),
    Events(events::EventsArgs),
    Find(find::FindArgs),
    Why(why::WhyArgs),
    Logs(logs::LogsArgs),
    Top(top::TopArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Handlers(handlers::HandlersArgs),
    Destinations(destinations::DestinationsArgs),
    Jobs(jobs::JobsArgs),
    Replay(replay::ReplayArgs),
    Rerun(rerun::RerunArgs),
    Retry(retry::RetryArgs),
    Cancel(cancel::CancelArgs),
    Erase(erase::EraseArgs),
    Hold(holds::HoldArgs),
    Release(holds::ReleaseArgs),
    Holds(holds::HoldsArgs),
    Unreadable(unreadable::UnreadableArgs),
    Sources(sources::SourcesArgs),
    Schedules(schedules::SchedulesArgs),
    Tokens(tokens::TokensArgs),
    Audit(audit::AuditArgs),
    Open(open::OpenArgs),
    Stats(stats::StatsArgs),
    ConfirmTime(confirm_time::ConfirmTimeArgs),
    Quarantine(quarantine::QuarantineArgs),
    Backtest(backtest::BacktestArgs),
    Secret(secret::SecretArgs),
    Sign(sign::SignArgs),
    Config(ConfigArgs),
    Openapi(openapi::OpenapiArgs),
    Providers(providers::ProvidersArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Upgrade(upgrade::UpgradeArgs),
    Completions(describe::CompletionsArgs),
    Man(describe::ManArgs),
    Bench(Box<bench::BenchArgs>),
    BenchFloor(bench::FloorArgs),
    CompileModule(compile::CompileArgs),
}

/// Print default settings
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub act: ConfigAct,
}

/// An act on settings.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigAct {
    /// Print the commented file of all settings with their defaults
    Defaults,
}

/// Reads the command line and runs the command. An invalid command line ends the process here.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { json, command } = usage::parse();
    let output = Output { json };
    let result = match command {
        Command::Serve(args) => return serve::serve(args, json),
        Command::Demo(args) => return demo::demo(args, json),
        Command::CompileModule(args) => return compile::run(&args),
        Command::Bench(args) => block_on(bench::run(&args, output)),
        Command::BenchFloor(args) => {
            bench::run_floor(&args).map_err(|error| CommandError::Failed(error.to_string()))
        }
        Command::Init(args) => init::run(&args, output),
        Command::New(args) => new::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Backup(args) => backup::backup(&args, output),
        Command::Restore(args) => backup::restore(&args, output),
        Command::Upgrade(args) => return end(upgrade::run(&args, output)),
        Command::Completions(args) => describe::completions(&args, output),
        Command::Man(args) => describe::man(&args, output),
        Command::Health(args) => block_on(health::run(&args, output)),
        Command::Secret(args) => secret::run(&args, output),
        Command::Sign(args) => sign::run(&args, output),
        Command::Providers(args) => providers::run(&args, output),
        Command::Config(ConfigArgs { act: ConfigAct::Defaults }) => {
            match json {
                true => output.value(&serde_json::json!({ "defaults": DEFAULTS })),
                false => output.text(DEFAULTS.trim_end()),
            }
            Ok(())
        }
        Command::Run(args) => return end(block_on(run::run(&args, output))),
        Command::Test(args) => block_on(test::run(&args, output)),
        Command::Openapi(args) => openapi::run(&args, output),
        Command::Send(args) => block_on(send::run(&args, output)),
        Command::Probe(args) => return end(block_on(probe::run(&args, output))),
        Command::Listen(args) => block_on(listen::run(&args, output)),
        Command::Register(args) => block_on(register::run(&args, output)),
        Command::Reconcile(args) => block_on(reconcile::run(&args, output)),
        Command::Events(args) => block_on(events::run(&args, output)),
        Command::Find(args) => return end(block_on(find::run(&args, output))),
        Command::Logs(args) => block_on(logs::run(&args, output)),
        Command::Top(args) => block_on(top::run(&args, output)),
        Command::Why(args) => block_on(why::run(&args, output)),
        Command::DeadLetters(args) => block_on(dead_letters::run(&args, output)),
        Command::Handlers(args) => block_on(handlers::run(&args, output)),
        Command::Destinations(args) => block_on(destinations::list(&args, output)),
        Command::Schedules(args) => block_on(schedules::list(&args, output)),
        Command::Replay(args) => block_on(replay::run(&args, output)),
        Command::Jobs(args) => block_on(jobs::run(&args, output)),
        Command::Backtest(args) => return end(backtest::run(&args, output)),
        Command::Rerun(args) => return end(block_on(rerun::run(&args, output))),
        Command::Retry(args) => block_on(retry::run(&args, output)),
        Command::Cancel(args) => block_on(cancel::run(&args, output)),
        Command::Erase(args) => block_on(erase::run(&args, output)),
        Command::Hold(args) => block_on(holds::hold(&args, output)),
        Command::Release(args) => block_on(holds::release(&args, output)),
        Command::Holds(args) => block_on(holds::holds(&args, output)),
        Command::Unreadable(args) => block_on(unreadable::unreadable(&args, output)),
        Command::Sources(args) => block_on(sources::run(&args, output)),
        Command::Audit(args) => block_on(audit::run(&args, output)),
        Command::Tokens(args) => block_on(tokens::run(&args, output)),
        Command::Open(args) => block_on(open::run(&args, output)),
        Command::Stats(args) => block_on(stats::run(&args, output)),
        Command::ConfirmTime(args) => block_on(confirm_time::run(&args, output)),
        Command::Quarantine(args) => block_on(quarantine::run(&args, output)),
    };
    end(result.map(|()| Exit::Success))
}

/// The exit code of a command, whose error is printed.
fn end(result: Result<Exit, CommandError>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error);
            error.exit().into()
        }
    }
}

/// Runs a command that waits for a hub or a module.
fn block_on<T>(command: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    // The code of the runtime is compiled once for all commands.
    let command: Pin<Box<dyn Future<Output = _>>> = Box::pin(command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| CommandError::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}

fn exit_codes() -> String {
    let line = |(exit, what): &(Exit, &str)| format!("  {:<3} {what}", exit.code());
    let lines: Vec<_> = Exit::ALL.iter().map(line).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_states_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for (exit, what) in Exit::ALL {
            assert!(help.contains(&format!("  {:<3} {what}", exit.code())), "{help}");
        }
    }
}
