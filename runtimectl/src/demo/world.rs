//! What the demo runs on: a throw-away root, a catalogue, two message nodes, a daemon.

use super::{Steps, broken};
use crate::client::Client;
use crate::output::Failure;
use peers::catalogue::{Catalogue, Options as CatalogueOptions};
use peers::descriptor::Stub;
use peers::node::{Node, Options as NodeOptions};
use protocol::control::{Command, EventRow, Reply};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The stub that both domains publish: data, as a catalogue serves it.
const STUB: &str = include_str!("../../../stubs/message-node/message-node.ps.js");
/// Port of the nodes' names inside; where they really are is the operator's to say.
const NODE_PORT: u16 = 4443;
/// How long the demo waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at something.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// The domains of the story.
pub(super) const DOMAINS: [&str; 2] = ["alpha.example", "beta.example"];
/// Bytes of the daemon's log that a failure shows.
const LOG_SHOWN: usize = 4_000;

/// Everything that runs.
#[derive(Debug)]
pub(super) struct World {
    root: tempfile::TempDir,
    daemon: Child,
    catalogue: Catalogue,
    nodes: Vec<Node>,
}

impl World {
    pub(super) async fn start(steps: &mut Steps) -> Result<Self, Failure> {
        let root = tempfile::Builder::new()
            .prefix("rt-demo-")
            .tempdir()
            .map_err(|error| broken("temporary folder", error))?;
        let catalogue = Catalogue::start(CatalogueOptions { guarded: true, ..Default::default() })
            .await
            .map_err(|error| broken("catalogue", error))?;
        let mut nodes = Vec::new();
        let mut config = String::new();
        for domain in DOMAINS {
            let node = Node::start(domain, NodeOptions::default())
                .await
                .map_err(|error| broken("message node", error))?;
            config.push_str(&publish(&catalogue, domain, &node).await?);
            nodes.push(node);
        }
        std::fs::write(root.path().join("runtimed.toml"), config)
            .map_err(|error| broken("configuration", error))?;
        steps.ok("a catalogue and two message nodes, for alpha.example and beta.example")?;
        let daemon = start_daemon(root.path())?;
        let mut world = Self { root, daemon, catalogue, nodes };
        if let Err(failure) = world.wait_for_daemon().await {
            let log = world.log();
            drop(world.daemon.kill());
            return Err(failure.hint(format!("the daemon's log ends:\n{log}")));
        }
        steps.ok(&format!("runtimed is up (pid {})", world.daemon.id()))?;
        Ok(world)
    }

    async fn wait_for_daemon(&mut self) -> Result<(), Failure> {
        let until = Instant::now().checked_add(PATIENCE);
        loop {
            match self.ask(Command::Status).await {
                Ok(_) => return Ok(()),
                Err(failure) => {
                    if let Ok(Some(status)) = self.daemon.try_wait() {
                        return Err(broken("daemon", format!("ended with {status}")));
                    }
                    if until.is_none_or(|until| Instant::now() > until) {
                        return Err(failure);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn bus(&self) -> PathBuf {
        self.root().join("run/bus.sock")
    }

    fn control(&self) -> PathBuf {
        self.root().join("run/control.sock")
    }

    /// How often the catalogue was asked.
    pub(super) fn downloads(&self) -> u64 {
        self.catalogue.counts().values().sum()
    }

    /// Sessions that the nodes opened or resumed.
    pub(super) fn sessions(&self) -> u64 {
        self.nodes.iter().map(Node::stats).map(|s| s.opened.saturating_add(s.reopened)).sum()
    }

    /// Asks the daemon; the peers go on meanwhile.
    pub(super) async fn ask(&self, command: Command) -> Result<Reply, Failure> {
        let path = self.control();
        tokio::task::spawn_blocking(move || Client::ask(&path, command).and_then(Client::answer))
            .await
            .map_err(|error| broken("control", error))?
    }

    /// The events so far.
    pub(super) async fn events(&self) -> Result<Vec<EventRow>, Failure> {
        let path = self.control();
        tokio::task::spawn_blocking(move || {
            let mut client = Client::ask(&path, Command::Events { follow: false })?;
            let mut rows = Vec::new();
            while let Some(reply) = client.next()? {
                match reply {
                    Reply::Event(row) => rows.push(*row),
                    _ => break,
                }
            }
            Ok(rows)
        })
        .await
        .map_err(|error| broken("events", error))?
    }

    /// The end of the daemon's log.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.root().join("log")).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_SHOWN);
        text.char_indices()
            .find(|(at, _)| *at >= start)
            .and_then(|(at, _)| text.get(at..))
            .unwrap_or_default()
            .to_owned()
    }

    /// How to explore, and how to stop.
    pub(super) fn explain(&self) -> Result<(), Failure> {
        let root = self.root().display();
        Steps::say(&format!(
            "\nrunning; press Ctrl-C to stop and clean up. Meanwhile, in another shell:\n\
             runtimectl --root {root} ps\n\
             runtimectl --root {root} call hyperty://alpha.example/bob '{{\"hello\":1}}'\n\
             runtimectl --root {root} resolve hyperty://beta.example/carol\n\
             runtimectl --root {root} kill alpha.example\n\
             runtimectl --root {root} events -f"
        ))
    }

    /// Stops the daemon and makes sure that nothing is left.
    pub(super) async fn stop(mut self, steps: &mut Steps) -> Result<(), Failure> {
        let pid = i32::try_from(self.daemon.id()).map_err(|error| broken("stop", error))?;
        let children = descendants(pid);
        let target = nix::unistd::Pid::from_raw(pid);
        // A daemon that is gone already is found out below.
        let _gone = nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGTERM).is_err();
        let until = Instant::now().checked_add(PATIENCE);
        let status = loop {
            match self.daemon.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if until.is_some_and(|until| Instant::now() < until) => {
                    tokio::time::sleep(LOOK).await;
                }
                _ => {
                    drop(self.daemon.kill());
                    return Err(broken("stop", "the daemon did not end"));
                }
            }
        };
        if !status.success() {
            return Err(broken("stop", format!("the daemon ended with {status}")));
        }
        while children.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            if until.is_none_or(|until| Instant::now() > until) {
                return Err(broken("stop", "a process is left"));
            }
            tokio::time::sleep(LOOK).await;
        }
        let path = self.root().to_owned();
        self.root.close().map_err(|error| broken("clean up", error))?;
        steps.ok(&format!(
            "stopped with status 0; {} processes and {} are gone",
            children.len(),
            path.display()
        ))
    }
}

/// Puts the domain's descriptor into the catalogue; its part of the configuration.
async fn publish(catalogue: &Catalogue, domain: &str, node: &Node) -> Result<String, Failure> {
    let inside = format!("node.{domain}:{NODE_PORT}");
    let url = node.url().replace(&node.authority(), &inside);
    let place = format!("/{domain}/.well-known");
    let descriptor = Stub::connecting_to(&url, STUB).inline_base64();
    catalogue
        .set(
            &format!("{place}/protocolstub/default"),
            peers::catalogue::Response::json(&descriptor),
        )
        .await
        .map_err(|error| broken("publish", error))?;
    Ok(format!(
        "[domain.\"{domain}\"]\ncatalogue = \"{}\"\nprivate = true\nhosts = {{ \"{inside}\" = \"{}\" }}\n",
        catalogue.url_of(&place),
        node.authority()
    ))
}

/// Starts the `runtimed` beside this program.
fn start_daemon(root: &Path) -> Result<Child, Failure> {
    let own = std::env::current_exe().map_err(|error| broken("daemon", error))?;
    let program = own.with_file_name("runtimed");
    let log = std::fs::File::create(root.join("log")).map_err(|error| broken("daemon", error))?;
    std::process::Command::new(&program)
        .arg("--root")
        .arg(root)
        .env_remove("RUNTIMED_ROOT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| broken("daemon", format!("{}: {error}", program.display())))
}

/// Pids of all living descendants.
fn descendants(of: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(i32, i32)> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for (pid, _) in all.iter().filter(|(_, p)| *p == parent) {
            found.push(*pid);
            parents.push(*pid);
        }
    }
    found
}
