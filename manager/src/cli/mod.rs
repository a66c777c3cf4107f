//! The administrator's side: arguments, requests, readable tables.

mod events;
mod table;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use http::Method;
use serde::Serialize;
use wire::{
    ClusterView, CreateVm, NodeForgotten, PutScale, Scaled, VipHandedOver, VipHandover, VipStatus, Vm, VmList,
};

use crate::config::Config;
use crate::identity::{Purpose, Secret};
use crate::push::client::Client;

/// A request may wait for libvirt and for a disk.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// The manager of a Phalanx host: without a command it runs as the daemon.
#[derive(Debug, Parser)]
#[command(name = "manager", version)]
pub struct Cli {
    /// The configuration file; commands find the API and the secret in it.
    #[arg(long, global = true, default_value = "/etc/phalanx/manager.toml", env = "PHALANX_CONFIG")]
    pub config: PathBuf,
    /// Check the configuration and exit.
    #[arg(long)]
    pub check_config: bool,
    /// As the daemon: when it is told to stop, hand the public address over first. For a host that goes away for good; a
    /// restart keeps the address and loses no request.
    #[arg(long)]
    pub leave: bool,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: program_log::Format,
    /// What to ask of the running manager.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to ask of a running manager.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the cluster as a node sees it.
    Status {
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
    /// Create, delete and list VMs.
    Vm {
        /// What to do.
        #[command(subcommand)]
        command: VmCommand,
    },
    /// Set the number of service VMs in the whole cluster.
    Scale {
        /// How many; nodes that have fewer get more, and no VM is moved that can stay.
        #[arg(allow_negative_numbers = true)]
        replicas: u32,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
    /// Show and move the public address.
    Vip {
        /// What to do.
        #[command(subcommand)]
        command: VipCommand,
    },
    /// See to the other nodes.
    Node {
        /// What to do.
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Show what happened on a node, and why.
    Events {
        /// Go on with what happens from now on.
        #[arg(long, short)]
        follow: bool,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
}

/// What to do with the public address.
#[derive(Debug, Subcommand)]
pub enum VipCommand {
    /// Show who owns it, as a node sees it.
    Status {
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
    /// Hand it over; only its owner can.
    Handover {
        /// To this node; without it, the first by name that can take it.
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
}

/// What to do with the other nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// A node that is dead does not come back for now: take its services out of every upstream set.
    Forget {
        /// Its name.
        node: String,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
}

/// What to do with VMs.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Create a service VM.
    Create {
        /// Its address; without one, the lowest that is free.
        #[arg(long)]
        addr: Option<std::net::Ipv4Addr>,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
    /// Remove a service VM, after it has finished its requests.
    Delete {
        /// Its id, such as host1/svc-3.
        id: String,
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
    /// List the VMs of a node.
    List {
        /// Whom to ask, and how to show it.
        #[command(flatten)]
        at: At,
    },
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, clap::Args)]
pub struct At {
    /// The API of another node's manager, such as 10.77.0.12:7700.
    #[arg(long)]
    api: Option<SocketAddr>,
    /// Print the answer's JSON.
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
///
/// # Errors
/// If the configuration cannot be used, or the manager refuses or does not answer.
pub async fn run(cli: &Cli, command: &Command) -> Result<()> {
    let config = Config::load(&cli.config)?;
    let client = |at: &At| -> Result<Client> {
        let token = Secret::load(&config.secret_file)?.token(Purpose::Api);
        let addr = at.api.unwrap_or(SocketAddr::V4(config.api.listen));
        Ok(Client::new(addr, Some(token), EXCHANGE_TIMEOUT))
    };
    match command {
        Command::Status { at } => {
            let view: ClusterView = client(at)?.get("/v1/cluster").await?;
            show(at, &view, table::cluster)
        }
        Command::Scale { replicas, at } => {
            let request = PutScale { replicas: *replicas };
            let answer: Scaled = client(at)?.send(Method::PUT, "/v1/scale", &request).await?;
            show(at, &answer, table::scaled)
        }
        Command::Vip { command: VipCommand::Status { at } } => {
            let status: VipStatus = client(at)?.get("/v1/vip").await?;
            show(at, &status, table::vip)
        }
        Command::Vip { command: VipCommand::Handover { to, at } } => {
            let request = VipHandover { to: to.clone() };
            let answer: VipHandedOver = client(at)?.send(Method::POST, "/v1/vip/handover", &request).await?;
            show(at, &answer, |answer| match &answer.owner {
                Some(owner) => format!("{owner} owns the address"),
                None => "there was nothing to hand over".to_owned(),
            })
        }
        Command::Node { command: NodeCommand::Forget { node, at } } => {
            let path = format!("/v1/nodes/{}/forget", escape(node));
            let answer: NodeForgotten = client(at)?.send(Method::POST, &path, &serde_json::json!({})).await?;
            show(at, &answer, |answer| format!("{} is forgotten until it is back", answer.node))
        }
        Command::Events { follow, at } => {
            let addr = at.api.unwrap_or(SocketAddr::V4(config.api.listen));
            events::show(addr, *follow, at.json).await
        }
        Command::Vm { command: VmCommand::List { at } } => {
            let list: VmList = client(at)?.get("/v1/vms").await?;
            show(at, &list, |list| table::vms(&list.vms))
        }
        Command::Vm { command: VmCommand::Create { addr, at } } => {
            let request = CreateVm { addr: *addr };
            let vm: Vm = client(at)?.send(Method::POST, "/v1/vms", &request).await?;
            show(at, &vm, |vm| table::vms(std::slice::from_ref(vm)))
        }
        Command::Vm { command: VmCommand::Delete { id, at } } => {
            let vm: Vm = client(at)?.delete(&format!("/v1/vms/{}", escape(id))).await?;
            show(at, &vm, |vm| table::vms(std::slice::from_ref(vm)))
        }
    }
}

fn show<T: Serialize>(at: &At, answer: &T, table: impl Fn(&T) -> String) -> Result<()> {
    let text = if at.json { serde_json::to_string_pretty(answer)? } else { table(answer) };
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads through `head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the answer"),
    }
}

/// RFC 3986, 2.1: an id given by a person may hold anything.
fn escape(id: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    id.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_is_escaped_where_it_must_be() {
        assert_eq!(super::escape("host1/svc-3"), "host1/svc-3");
        assert_eq!(super::escape("a b?\u{e9}"), "a%20b%3F%C3%A9");
    }

    #[test]
    fn the_arguments_are_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn scale_takes_a_number_and_names_what_is_none() {
        let parse = |args: &[&str]| {
            let line = ["manager", "scale"].iter().chain(args);
            <super::Cli as clap::Parser>::try_parse_from(line).map_err(|error| error.to_string())
        };
        let cli = parse(&["7", "--api", "10.77.0.12:7700", "--json"]).unwrap();
        let Some(super::Command::Scale { replicas: 7, at }) = cli.command else { panic!("{cli:?}") };
        assert_eq!((at.api, at.json), (Some("10.77.0.12:7700".parse().unwrap()), true));
        for bad in ["-1", "4294967296", "1.5", "many", ""] {
            let error = parse(&[bad]).unwrap_err();
            assert!(error.contains(&format!("invalid value '{bad}'")) || bad.is_empty(), "{bad}: {error}");
            assert!(error.contains("<REPLICAS>"), "{bad}: {error}");
        }
        assert!(parse(&[]).unwrap_err().contains("<REPLICAS>"));
        assert!(parse(&["1", "2"]).unwrap_err().contains("'2'"));
    }
}
