//! Memory that is short, as the kernel would say it: what the kernel says of waits and of room is
//! written here, and laid over the real one where nobody else sees it. Nothing is really short of memory.

use super::disk::have;
use crate::skip::skipped;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is laid over.
const REAL: &str = "/proc/pressure/memory";
/// And what says how much is left.
const ROOM: &str = "/proc/meminfo";
/// How often the counter moves.
const EVERY: Duration = Duration::from_millis(20);

/// A machine that says how long somebody waits for memory, until this is dropped.
#[derive(Debug)]
pub struct Pressure {
    percent: Option<Sender<u64>>,
    counter: Option<JoinHandle<()>>,
}

impl Pressure {
    /// Lays it over, within `super::disk::where_one_may_mount`; nothing, and a skip that is told,
    /// where the kernel does not say such a thing.
    pub fn mount(folder: &Path) -> Option<Self> {
        if !Path::new(REAL).exists() {
            skipped("this kernel does not say when memory is short");
            return None;
        }
        let path = folder.join("pressure");
        fs::write(&path, said(0, 0)).expect("our folder");
        have(folder, &format!("mount --bind '{}' {REAL}", path.display()));
        assert_eq!(
            fs::read_to_string(REAL).expect("ours"),
            said(0, 0),
            "it lies over the real one"
        );
        let room_path = folder.join("meminfo");
        fs::write(&room_path, left(0)).expect("our folder");
        have(folder, &format!("mount --bind '{}' {ROOM}", room_path.display()));
        let room = fs::OpenOptions::new().write(true).open(&room_path).expect("our file");
        let file = fs::OpenOptions::new().write(true).open(&path).expect("our file");
        let (percent, told) = channel();
        let counter = std::thread::spawn(move || {
            let (mut percent, mut total, mut last) = (0, 0, Instant::now());
            loop {
                match told.recv_timeout(EVERY) {
                    Ok(now) => percent = now,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let passed = u64::try_from(last.elapsed().as_micros()).expect("short");
                last = Instant::now();
                total += passed * percent / 100;
                say(&file, &said(percent, total));
                say(&room, &left(percent));
            }
        });
        Some(Self { percent: Some(percent), counter: Some(counter) })
    }

    /// From now on somebody waits for so many percent of the time, less than a hundred.
    pub fn set(&self, percent: u64) {
        let told = self.percent.as_ref().map(|sender| sender.send(percent));
        told.expect("it counts").expect("it counts");
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.percent.take();
        let ended = self.counter.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "it counted");
    }
}

/// Always of the same length, so that whoever reads sees one or the other.
fn said(percent: u64, total: u64) -> String {
    format!(
        "some avg10={percent:02}.00 avg60=0.00 avg300=0.00 total={total:020}\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
}

/// A twentieth while somebody waits, else nearly all.
fn left(percent: u64) -> String {
    let free = if percent > 0 { 50 } else { 900 };
    format!("MemTotal: 1000 kB\nMemFree: 010 kB\nMemAvailable: {free:03} kB\n")
}

fn say(file: &File, text: &str) {
    file.write_all_at(text.as_bytes(), 0).expect("our file");
}
