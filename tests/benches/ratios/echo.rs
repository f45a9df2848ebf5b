//! A worker without an engine: jailed, verified and linked as any other, it answers what it is
//! asked and, on `drive`, asks its peer. What is measured through it is the daemon.
//!
//! It stands where the daemon looks for `sandbox-worker`. The roles that it does not play are the
//! real program's, whose path is written behind the end of this one.

use crate::figures::Run;
use crate::stubs::FRAME_REST;
use jail::Profile;
use protocol::ctl::{CtlDown, CtlUp};
use protocol::frame::{Frame, FrameBuilder, FrameRef, flags, frames};
use protocol::limits::READ_BUFFER_BYTES;
use protocol::link::{Got, Hello, Link, Side};
use protocol::message::MessageType;
use protocol::sys;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use system_tests::confined::said_of;

/// Number of the link's descriptor.
const LINK_FD: i32 = 3;
/// Bytes behind the end of the program: the path of the real worker, and zeros.
const TAIL_BYTES: usize = 1_024;
/// Messages under way in a one-way run. One sender may have 1,024 frames and 2.5 MiB waiting at a
/// worker, of which the worker may owe the acknowledgement of 512 and of 2 MiB.
const WINDOW: usize = 384;
/// Bytes of the same.
const WINDOW_BYTES: usize = 448 * 1_024;
/// In a flood each so-manieth message is a question: who never reads gets no credit.
const FLOOD_MARK: usize = 256;
/// Questions under way that mark how far a one-way run is.
const MARKS: usize = 4;

/// Writes the path of the real worker behind the end of this program's copy.
pub(crate) fn name_real_worker(image: &Path, real: &Path) {
    let mut tail = real.to_str().expect("a path in UTF-8").as_bytes().to_vec();
    assert!(tail.len() < TAIL_BYTES, "the path is too long");
    tail.resize(TAIL_BYTES, 0);
    let mut file = fs::OpenOptions::new().append(true).open(image).expect("the copy");
    file.write_all(&tail).expect("room on the disk");
}

fn real_worker() -> String {
    let mut own = fs::File::open("/proc/self/exe").expect("this program");
    let back = i64::try_from(TAIL_BYTES).expect("small");
    own.seek(SeekFrom::End(-back)).expect("a tail");
    let mut tail = String::new();
    own.read_to_string(&mut tail).expect("a path in UTF-8");
    tail.trim_end_matches('\0').to_owned()
}

/// Plays the role of a stub, or lets the real worker play its own.
pub(crate) fn run(role: &str, arguments: &[String]) -> ExitCode {
    if role != "stub" {
        let error = Command::new(real_worker()).args(arguments).exec();
        eprintln!("the real worker does not start: {error}");
        return ExitCode::FAILURE;
    }
    let confinement = match jail::confine(Profile::Stub) {
        Ok(confinement) => confinement,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut echo = Echo::new();
    echo.ctl(&CtlUp::Confined(said_of(confinement)));
    echo.link.hello(Hello { role: 1, engine: 0, build: [0; 20] });
    echo.flush();
    while echo.turn() {
        while let Some(trigger) = echo.triggers.pop_front() {
            echo.drive(&trigger);
        }
    }
    ExitCode::SUCCESS
}

/// Waits for a moment; one that is over is no wait.
fn wait_until(due: Instant) {
    while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    {
        std::thread::park_timeout(rest);
    }
}

#[derive(Debug)]
struct Echo {
    /// Blocking, as the clients on the other side of the comparison.
    socket: UnixStream,
    link: Link,
    buffer: Vec<u8>,
    component: String,
    answers: usize,
    triggers: VecDeque<Frame>,
    ended: bool,
}

impl Echo {
    fn new() -> Self {
        Self {
            socket: UnixStream::from(sys::adopt(LINK_FD)),
            link: Link::new(Side::Worker),
            buffer: vec![0; READ_BUFFER_BYTES],
            component: String::new(),
            answers: 0,
            triggers: VecDeque::new(),
            ended: false,
        }
    }

    /// Waits for one packet, and deals with it; false at the end of the link.
    fn turn(&mut self) -> bool {
        let read = match (&self.socket).read(&mut self.buffer) {
            // What the dead daemon said before is still to be read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Ok(0) | Err(_) => return false,
            Ok(read) => read,
        };
        let buffer = std::mem::take(&mut self.buffer);
        for frame in frames(&buffer[..read]) {
            self.take(&frame.expect("the daemon sends frames"));
        }
        self.buffer = buffer;
        self.flush();
        !self.ended
    }

    fn take(&mut self, frame: &FrameRef<'_>) {
        match self.link.receive(frame).expect("the daemon keeps to the link's rules") {
            Got::Msg => {
                self.link.incoming.disposed(frame.bytes().len());
                self.message(frame);
            }
            Got::Ctl => match CtlDown::decode(frame.body()).expect("a control message") {
                CtlDown::Assign(assign) => {
                    self.component = assign.component;
                    self.ctl(&CtlUp::Loaded);
                    self.ctl(&CtlUp::Activated { name: "echo".to_owned() });
                }
                CtlDown::Remove { .. } => {
                    self.ctl(&CtlUp::Removed);
                    self.link.bye();
                    self.ended = true;
                }
                _ => {}
            },
            Got::Ping => {
                self.link.out.push_plain(protocol::frame::Kind::Pong, frame.body());
            }
            Got::Bye => self.ended = true,
            _ => {}
        }
    }

    fn message(&mut self, frame: &FrameRef<'_>) {
        if frame.header.mtype == MessageType::Response.as_u8() {
            assert_eq!(frame.header.code, 200, "{}", String::from_utf8_lossy(frame.body()));
            self.answers += 1;
        } else if frame.body().starts_with(br#"{"drive":"#) {
            self.triggers.push_back(frame.to_owned());
        } else if frame.has(flags::REPLY) {
            // A mark is only counted; a question is answered with what it brought.
            let is_mark = frame.header.mtype == MessageType::Execute.as_u8();
            let body = if is_mark { &b"{}"[..] } else { frame.body() };
            self.answer(frame, body);
        }
    }

    fn answer(&mut self, asked: &FrameRef<'_>, body: &[u8]) {
        let kind = MessageType::Response.as_u8();
        let answer = FrameBuilder::msg(kind, asked.id(), asked.to(), asked.from())
            .code(200)
            .body(body)
            .build()
            .expect("as large as what came");
        self.link.out.push(answer.bytes());
    }

    fn ctl(&mut self, up: &CtlUp) {
        let bytes = up.encode().expect("a small message");
        let frame = FrameBuilder::ctl(&bytes).build().expect("a small frame");
        self.link.out.push_ctl(&frame, Vec::new());
    }

    fn flush(&mut self) {
        self.link.acknowledge(false);
        while let Some(packet) = self.link.out.next_packet() {
            if (&self.socket).write_all(&packet.bytes).is_err() {
                self.ended = true;
            }
            self.link.out.recycle(packet.bytes);
        }
    }

    fn drive(&mut self, trigger: &Frame) {
        let view = trigger.view().expect("it was received");
        let body: Value = serde_json::from_slice(view.body()).expect("JSON");
        let drive = &body["drive"];
        let number = |name: &str| {
            usize::try_from(drive[name].as_u64().expect("a number")).expect("a small number")
        };
        let peer = drive["peer"].as_str().expect("an address");
        let text = format!(r#"{{"value":"{}"}}"#, "x".repeat(number("pad")));
        let (body, count) = (text.as_bytes(), number("count"));
        let pause = || Duration::from_micros(drive["pause_us"].as_u64().expect("a number"));
        let run = match drive["mode"].as_str().expect("a mode") {
            "rtt" => self.round_trips(peer, body, count),
            "paced" => self.paced(peer, body, count, pause()),
            "flood" => self.flood(peer, body, count, pause()),
            _ => self.one_way(peer, body, count),
        };
        // What is not a number becomes null.
        let figures = json!({"code": 200, "wrong": 0, "middle": run.middle, "high": run.high});
        self.answer(&view, figures.to_string().as_bytes());
        // No more is said for a while, so what is owed is acknowledged now.
        self.link.acknowledge(true);
        self.flush();
    }

    fn frame(&self, kind: MessageType, id: &str, to: &str, body: &[u8]) -> Frame {
        FrameBuilder::msg(kind.as_u8(), id, &self.component, to)
            .flag_if(flags::REPLY, kind.is_request())
            .body(body)
            .build()
            .expect("a frame within its bounds")
    }

    fn await_answers(&mut self, wanted: usize) {
        while self.answers < wanted {
            assert!(self.turn(), "the link ended");
        }
    }

    fn round_trips(&mut self, peer: &str, body: &[u8], count: usize) -> Run {
        let warm = (count / 10).max(50);
        let question = self.frame(MessageType::Read, "1", peer, body);
        let mut times: Vec<Duration> = Vec::with_capacity(warm + count);
        for _ in 0..warm + count {
            let begun = Instant::now();
            self.link.out.push(question.bytes());
            self.flush();
            self.await_answers(self.answers + 1);
            times.push(begun.elapsed());
        }
        Run::of(times.split_off(warm))
    }

    /// Round trips that begin at fixed times; one that would have begun during the one before
    /// begins at once, and its wait counts.
    fn paced(&mut self, peer: &str, body: &[u8], count: usize, pause: Duration) -> Run {
        let question = self.frame(MessageType::Read, "1", peer, body);
        let mut times = Vec::with_capacity(count);
        let mut due = Instant::now();
        for _ in 0..count {
            due += pause;
            wait_until(due);
            self.link.out.push(question.bytes());
            self.flush();
            self.await_answers(self.answers + 1);
            times.push(due.elapsed());
        }
        Run::of(times)
    }

    /// Messages at fixed times: the rate reached.
    fn flood(&mut self, peer: &str, body: &[u8], count: usize, pause: Duration) -> Run {
        let message = self.frame(MessageType::Update, "", peer, body);
        let mark = self.frame(MessageType::Execute, "1", peer, body);
        let begun = Instant::now();
        let mut due = begun;
        for number in 1..=count {
            due += pause;
            wait_until(due);
            let is_mark = number % FLOOD_MARK == 0;
            self.link.out.push(if is_mark { &mark } else { &message }.bytes());
            self.flush();
            if is_mark {
                self.await_answers(self.answers + 1);
            }
        }
        Run::rate(count, begun.elapsed())
    }

    /// Every so many messages one is a question, whose answer marks how far the peer is.
    fn one_way(&mut self, peer: &str, body: &[u8], count: usize) -> Run {
        let size = body.len() + FRAME_REST;
        let window = (WINDOW_BYTES / size).clamp(MARKS, WINDOW);
        let (every, batch) = (window / MARKS, (65_536 / size).clamp(1, 64));
        let total = count / every * every;
        let message = self.frame(MessageType::Update, "", peer, body);
        // An id may be used again once it is answered.
        let marks: Vec<Frame> = (1..=MARKS)
            .map(|id| self.frame(MessageType::Execute, &id.to_string(), peer, body))
            .collect();
        let begun = Instant::now();
        let before = self.answers;
        let mut asked = 0;
        for number in 1..=total {
            let is_mark = number % every == 0;
            if is_mark {
                self.link.out.push(marks[asked % MARKS].bytes());
                asked += 1;
            } else {
                self.link.out.push(message.bytes());
            }
            if is_mark || number % batch == 0 {
                self.flush();
            }
            if is_mark {
                self.await_answers(before + (asked + 1).saturating_sub(MARKS));
            }
        }
        self.await_answers(before + asked);
        Run::rate(total, begun.elapsed())
    }
}
