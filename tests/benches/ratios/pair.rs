//! Two blocking clients of a router that speaks over a byte stream, whatever its protocol: each
//! message has a fixed length, learned in a first exchange that was looked at. So the clients cost
//! the same on both sides of a comparison.

use crate::figures::Run;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages under way in a one-way run: less than one sender may have waiting at an application.
const WINDOW_MESSAGES: usize = 384;
/// Bytes of the same.
const WINDOW_BYTES: usize = 448 * 1_024;
/// Bytes written at once in a one-way run.
const WRITE_BYTES: usize = 65_536;

/// Client A, client B, and what they say to each other.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Asks.
    pub(crate) a: UnixStream,
    /// Answers.
    pub(crate) b: UnixStream,
    /// What A writes to ask.
    pub(crate) ask: Vec<u8>,
    /// Bytes of it when it comes to B.
    pub(crate) asked: usize,
    /// What B writes to answer.
    pub(crate) answer: Vec<u8>,
    /// Bytes of it when it comes to A.
    pub(crate) answered: usize,
    /// What A writes to tell.
    pub(crate) tell: Vec<u8>,
    /// Bytes of it when it comes to B.
    pub(crate) told: usize,
}

impl Pair {
    /// So many round trips, one at a time.
    pub(crate) fn round_trips(&mut self, count: usize) -> Run {
        self.set_patience();
        let warm = (count / 10).max(50);
        let Self { a, b, ask, asked, answer, answered, .. } = self;
        let times = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; *asked];
                for _ in 0..warm + count {
                    b.read_exact(&mut buffer).expect("a question in time");
                    b.write_all(answer).expect("the router reads");
                }
            });
            let mut buffer = vec![0; *answered];
            let mut times = Vec::with_capacity(warm + count);
            for _ in 0..warm + count {
                let begun = Instant::now();
                a.write_all(ask).expect("the router reads");
                a.read_exact(&mut buffer).expect("an answer in time");
                times.push(begun.elapsed());
            }
            times
        });
        Run::of(times.into_iter().skip(warm).collect())
    }

    /// So many messages in one direction, many under way.
    pub(crate) fn one_way(&mut self, count: usize) -> Run {
        self.set_patience();
        let size = self.tell.len();
        let window = (WINDOW_BYTES / size).clamp(4, WINDOW_MESSAGES);
        let batch = (WRITE_BYTES / size).clamp(1, 64).min(window / 2);
        let burst = self.tell.repeat(batch);
        let total = count / batch * batch;
        let Self { a, b, told, .. } = self;
        let told = *told;
        let received = AtomicUsize::new(0);
        let sender = std::thread::current();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; WRITE_BYTES * 4];
                let (mut bytes, mut woken) = (0, 0);
                while bytes < total * told {
                    bytes += b.read(&mut buffer).expect("messages in time");
                    let messages = bytes / told;
                    received.store(messages, Ordering::Release);
                    if messages - woken >= window / 4 {
                        woken = messages;
                        sender.unpark();
                    }
                }
                sender.unpark();
            });
            let mut sent = 0;
            while sent < total {
                while sent + batch > received.load(Ordering::Acquire) + window {
                    assert!(begun.elapsed() < PATIENCE, "messages were lost");
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                a.write_all(&burst).expect("the router reads");
                sent += batch;
            }
        });
        Run::rate(total, begun.elapsed())
    }

    fn set_patience(&self) {
        for stream in [&self.a, &self.b] {
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        }
    }
}
