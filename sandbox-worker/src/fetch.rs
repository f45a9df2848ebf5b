//! The fetch role: downloads one catalogue entry and takes it apart, in the jail, then ends.
//!
//! ```text
//!  Fetch ──▶ descriptor found and read ──▶ Fetched ──▶ FetchSource ──▶ code decoded ──▶ Source, Bye
//!                └───────────────── FetchFailed, Bye ◀───────────────────┘
//! ```

mod code;
mod http;
mod limits;
mod place;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use crate::port::{Event, Port, PortError};
use crate::role;
use http::{Ask, Bounds, Fetcher, Opened};
use jail::Profile;
use limits::{ASKS_QUEUED, PACKAGE_BYTES_MAX, SENTENCE_BYTES_MAX};
use place::{Catalogue, Place};
use protocol::ctl::{CtlDown, CtlUp, FetchError, FetchJob};
use protocol::descriptor::{Descriptor, Package};
use protocol::limits::DESCRIPTOR_BYTES_MAX;
use protocol::sys;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Why nothing was fetched: a kind, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    error: FetchError,
    text: String,
}

fn failure(error: FetchError, text: impl Into<String>) -> Failure {
    let text: String = text.into();
    let mut shown = String::new();
    for character in text.chars().flat_map(char::escape_debug) {
        if shown.len() >= SENTENCE_BYTES_MAX {
            break;
        }
        shown.push(character);
    }
    Failure { error, text: shown }
}

/// An entry whose descriptor is read, and whose code is wanted next.
struct Entry {
    catalogue: Catalogue,
    /// Where the code lies if the descriptor does not say.
    beside: String,
    place: Place,
    package: Package,
}

const DESCRIPTOR: Bounds = Bounds {
    max: DESCRIPTOR_BYTES_MAX.saturating_add(PACKAGE_BYTES_MAX),
    over: FetchError::Unusable,
    cut: FetchError::Unusable,
};
const CODE: Bounds =
    Bounds { max: PACKAGE_BYTES_MAX, over: FetchError::CodeSize, cut: FetchError::Decoding };

/// The link's side of a job.
struct Desk {
    /// What the job needs to start; taken by the first job of this life.
    start: Option<(mpsc::Sender<Ask>, oneshot::Receiver<()>)>,
    go: Option<oneshot::Sender<()>>,
    opening: HashMap<u32, oneshot::Sender<Opened>>,
    last_req: u32,
    worker: JoinSet<()>,
}

/// Runs the role on this link.
pub(crate) fn run(link: RawFd) -> ExitCode {
    role::run(Profile::Fetch, link, async |port| {
        port.hello(role::HELLO_FETCH, 0)?;
        serve(port).await
    })
}

/// Serves one job, until it is done or the link ends.
///
/// # Errors
/// The link cannot go on.
async fn serve(port: &mut Port) -> Result<(), PortError> {
    let (asks, mut asked) = mpsc::channel(ASKS_QUEUED);
    let (go, wait) = oneshot::channel();
    let mut desk = Desk {
        start: Some((asks, wait)),
        go: Some(go),
        opening: HashMap::new(),
        last_req: 0,
        worker: JoinSet::new(),
    };
    loop {
        tokio::select! {
            event = port.next() => match event? {
                None => return Ok(()),
                Some(Event::Ctl(CtlDown::Remove { .. }, _)) => return port.bye().await,
                Some(event) => desk.take(port, event),
            },
            ask = asked.recv() => match ask {
                Some(ask) => desk.ask(port, ask)?,
                // The job is done.
                None => return port.bye().await,
            },
        }
        port.flush()?;
    }
}

impl Desk {
    fn take(&mut self, port: &mut Port, event: Event) {
        match event {
            Event::Ping(body) => port.pong(&body),
            Event::Msg(frame) => port.disposed(&frame),
            Event::Ctl(CtlDown::Fetch(job), _) => {
                if let Some((asks, wait)) = self.start.take() {
                    self.worker.spawn(work(*job, asks, wait));
                }
            }
            Event::Ctl(CtlDown::FetchSource, _) => {
                // A job that failed meanwhile has said so.
                let _told = self.go.take().map(|go| go.send(()));
            }
            Event::Ctl(CtlDown::Connected { req }, fds) => {
                if let (Some(reply), Some(fd)) = (self.opening.remove(&req), fds.into_iter().next())
                {
                    drop(reply.send(Ok((req, fd))));
                }
            }
            Event::Ctl(CtlDown::ConnectRefused { req, error, text }, _) => {
                if let Some(reply) = self.opening.remove(&req) {
                    drop(reply.send(Err((error, text))));
                }
            }
            Event::Welcome(_) | Event::Ctl(..) => {}
        }
    }

    fn ask(&mut self, port: &mut Port, ask: Ask) -> Result<(), PortError> {
        match ask {
            Ask::Open(target, reply) => {
                self.last_req = self.last_req.saturating_add(1);
                self.opening.insert(self.last_req, reply);
                port.send_ctl(&CtlUp::Connect { req: self.last_req, target }, Vec::new())
            }
            Ask::Closed(req) => port.send_ctl(&CtlUp::Closed { req }, Vec::new()),
            Ask::Say(ctl, fds) => port.send_ctl(&ctl, fds),
        }
    }
}

/// The whole job; says how it ended.
async fn work(job: FetchJob, asks: mpsc::Sender<Ask>, go: oneshot::Receiver<()>) {
    let now = Instant::now();
    let budget = Duration::from_millis(job.budget_ms.into());
    let deadline = now.checked_add(budget).unwrap_or(now);
    if let Err(Failure { error, text }) = phases(&job, asks.clone(), go, deadline).await {
        // Without a link there is nobody to tell.
        drop(asks.send(Ask::Say(CtlUp::FetchFailed { error, text }, Vec::new())).await);
    }
}

async fn phases(
    job: &FetchJob,
    asks: mpsc::Sender<Ask>,
    go: oneshot::Receiver<()>,
    deadline: Instant,
) -> Result<(), Failure> {
    let tls = tls::client(&job.ca_pem, None)
        .map_err(|error| failure(FetchError::Down, error.to_string()))?;
    let fetcher = Fetcher::new(asks, tls);
    let (entry, descriptor) = find(job, &fetcher, deadline).await?;
    let origin = entry.place.origin();
    let descriptor = Box::new(descriptor);
    fetcher.say(CtlUp::Fetched { origin, descriptor }, Vec::new()).await?;
    if go.await.is_err() {
        return Ok(());
    }
    let (origin, code) = timeout_at(deadline, source(&fetcher, entry))
        .await
        .map_err(|_e| failure(FetchError::Slow, "the code did not come in time"))??;
    let memfd = sys::sealed_memfd("code", &code).map_err(|error| {
        failure(FetchError::CodeSize, format!("the code cannot be kept: {error}"))
    })?;
    let size = u64::try_from(code.len()).unwrap_or(u64::MAX);
    fetcher.say(CtlUp::Source { origin, size }, vec![memfd]).await
}

/// Looks at one base after the other while they are down or do not have it. Of several failures,
/// the answer of a catalogue that is there says more than the silence of one that is not.
async fn find(
    job: &FetchJob,
    fetcher: &Fetcher,
    deadline: Instant,
) -> Result<(Entry, Descriptor), Failure> {
    let bases: Vec<&String> = std::iter::once(&job.base).chain(&job.alternatives).collect();
    let mut told: Option<Failure> = None;
    for (index, base) in bases.iter().enumerate() {
        let left = u32::try_from(bases.len().saturating_sub(index)).unwrap_or(1).max(1);
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now).checked_div(left).unwrap_or_default();
        let until = now.checked_add(share).unwrap_or(deadline);
        let slow = || failure(FetchError::Slow, format!("{base} did not answer in time"));
        let failed = match timeout_at(until, find_in(base, job, fetcher)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(failed)) => failed,
            Err(_elapsed) => slow(),
        };
        match failed.error {
            FetchError::Absent if told.as_ref().is_none_or(|t| t.error != FetchError::Absent) => {
                told = Some(failed);
            }
            FetchError::Down | FetchError::Slow | FetchError::Absent => {
                told.get_or_insert(failed);
            }
            _ => return Err(failed),
        }
    }
    Err(told.unwrap_or_else(|| failure(FetchError::Absent, "there is no catalogue")))
}

async fn find_in(
    base: &str,
    job: &FetchJob,
    fetcher: &Fetcher,
) -> Result<(Entry, Descriptor), Failure> {
    let catalogue = Catalogue::new(base, job.shelf, &job.sources)?;
    let mut absent = failure(FetchError::Absent, format!("{base}: no name to look for"));
    for name in &job.names {
        for ending in ["", job.shelf.descriptor_ending()] {
            let place = catalogue.entry(name, ending)?;
            match fetcher.get(&catalogue, place, DESCRIPTOR).await {
                Ok(found) => {
                    let (descriptor, package) = code::descriptor(&found.bytes)?;
                    let place = found.place;
                    let beside = format!("{name}{}", job.shelf.code_ending());
                    return Ok((Entry { catalogue, beside, place, package }, descriptor));
                }
                Err(failed) if failed.error == FetchError::Absent => absent = failed,
                Err(failed) => return Err(failed),
            }
        }
    }
    Err(absent)
}

/// The code of an entry, and the origin of its last hop.
async fn source(fetcher: &Fetcher, entry: Entry) -> Result<(String, Vec<u8>), Failure> {
    let Entry { catalogue, beside, place, package } = entry;
    let (target, is_beside) = match package {
        Package::Inline { text, encoding } => {
            return Ok((place.origin(), code::inline(&text, encoding)?));
        }
        Package::Url(url) => (url, false),
        Package::Beside => (beside, true),
    };
    let at = catalogue.follow(&place, &target)?;
    match fetcher.get(&catalogue, at, CODE).await {
        Ok(found) => Ok((found.place.origin(), code::served(found.bytes)?)),
        Err(failed) if failed.error == FetchError::Absent => {
            let text = if is_beside {
                format!(
                    "the descriptor names no code, and there is none beside it: {}",
                    failed.text
                )
            } else {
                format!("the code is not where the descriptor says: {}", failed.text)
            };
            Err(failure(FetchError::Unusable, text))
        }
        Err(failed) => Err(failed),
    }
}
