//! The link of a faulty worker, the messages it takes, and the wrong it does.

use crate::plan::{Fault, Plan, Stage};
use jail::Confinement;
use protocol::ctl::{CtlDown, CtlUp, FetchError};
use protocol::descriptor::Descriptor;
use protocol::frame::{FrameBuilder, FrameRef, Kind, flags, frames};
use protocol::limits::READ_BUFFER_BYTES;
use protocol::link::{Got, Hello, Link, Side};
use protocol::message::MessageType;
use protocol::sys;
use serde::Deserialize;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use system_tests::confined::said_of;

/// Number of the link's descriptor.
const LINK_FD: i32 = 3;
/// Status of [`Fault::Fail`].
const FAILED: u8 = 7;
/// Bytes taken at once by [`Fault::Memory`].
const BITE: usize = 1_048_576;

/// What a message may ask of the worker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    /// Do this.
    fault: Option<Fault>,
    /// Give no answer.
    hold: bool,
}

/// One end of a link, with a plan.
#[derive(Debug)]
pub(crate) struct Worker {
    plan: Plan,
    /// Blocking: there is nothing else to do. `None` once it is closed.
    socket: Option<UnixStream>,
    link: Link,
    buffer: Vec<u8>,
    /// Messages taken, answers not counted.
    taken: u64,
    /// What it does wrong from now on.
    habits: Vec<Fault>,
    /// Nothing more is read or sent.
    ended: bool,
    status: u8,
}

impl Worker {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            socket: Some(UnixStream::from(sys::adopt(LINK_FD))),
            link: Link::new(Side::Worker),
            buffer: vec![0; READ_BUFFER_BYTES],
            taken: 0,
            habits: Vec::new(),
            ended: false,
            status: 0,
        }
    }

    /// Does what the plan has for this stage.
    pub(crate) fn reach(&mut self, stage: Stage) {
        if let Some(fault) = self.plan.fault_at(stage) {
            self.commit(fault);
        }
    }

    pub(crate) fn confined(&mut self, confinement: Confinement) {
        self.ctl(&CtlUp::Confined(said_of(confinement)));
        self.flush();
    }

    pub(crate) fn hello(&mut self) {
        self.link.hello(Hello { role: self.plan.role.number(), engine: 0, build: [0; 20] });
        self.flush();
    }

    /// The status to end with.
    pub(crate) fn status(&self) -> ExitCode {
        ExitCode::from(self.status)
    }

    /// Waits for one packet and deals with it; false at the end.
    pub(crate) fn turn(&mut self) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(mut socket) = self.socket.as_ref().filter(|_| !self.ended) else { return false };
        let read = match socket.read(&mut buffer) {
            // What the dead daemon said before is still to be read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 1,
            Err(_) => 0,
            Ok(read) => read,
        };
        if read == 0 {
            return false;
        }
        for frame in frames(&buffer[..read]).flatten() {
            self.take(&frame);
        }
        self.buffer = buffer;
        self.flush();
        !self.ended
    }

    fn take(&mut self, frame: &FrameRef<'_>) {
        match self.link.receive(frame).expect("the daemon keeps to the link's rules") {
            Got::Msg if self.habits.contains(&Fault::Numb) => {}
            Got::Msg => {
                self.link.incoming.disposed(frame.bytes().len());
                self.message(frame);
            }
            Got::Ctl => match CtlDown::decode(frame.body()).expect("a control message") {
                CtlDown::Assign(_) => self.assigned(),
                CtlDown::Fetch(_) => {
                    self.reach(Stage::Asked);
                    let fetched = CtlUp::Fetched {
                        origin: "file://".to_owned(),
                        descriptor: Box::new(descriptor()),
                    };
                    self.goes_on(&fetched);
                }
                CtlDown::FetchSource => self.reach(Stage::Described),
                CtlDown::Remove { .. } if !self.habits.contains(&Fault::Deaf) => {
                    self.ctl(&CtlUp::Removed);
                    self.link.bye();
                    self.flush();
                    self.ended = true;
                }
                _ => {}
            },
            Got::Ping => self.link.out.push_plain(Kind::Pong, frame.body()),
            Got::Bye => self.ended = true,
            _ => {}
        }
    }

    fn assigned(&mut self) {
        self.reach(Stage::Assigned);
        self.goes_on(&CtlUp::Loaded);
        self.reach(Stage::Loaded);
        self.goes_on(&CtlUp::Activated { name: "faulty".to_owned() });
        self.reach(Stage::Activated);
    }

    /// Says so, unless it already said that it cannot.
    fn goes_on(&mut self, up: &CtlUp) {
        if !self.habits.contains(&Fault::Refuse) {
            self.ctl(up);
            self.flush();
        }
    }

    /// Says that it cannot go on from where the plan has its fault.
    fn refuse(&mut self) {
        let text = "it was told to".to_owned();
        let failed =
            |stage: &str| CtlUp::DeployFailed { stage: stage.to_owned(), text: text.clone() };
        let up = match self.plan.at {
            Some(Stage::Asked) => CtlUp::FetchFailed { error: FetchError::Down, text },
            Some(Stage::Described) => CtlUp::FetchFailed { error: FetchError::Decoding, text },
            Some(Stage::Loaded) => failed("activate"),
            _ => failed("load"),
        };
        self.ctl(&up);
        self.flush();
        self.habits.push(Fault::Refuse);
    }

    /// Every message is counted; a request is answered with the count, unless it says otherwise.
    fn message(&mut self, frame: &FrameRef<'_>) {
        if frame.header.mtype == MessageType::Response.as_u8() {
            return;
        }
        self.taken += 1;
        let wish: Wish = serde_json::from_slice(frame.body()).unwrap_or_default();
        if frame.has(flags::REPLY) && !wish.hold {
            let kind = MessageType::Response.as_u8();
            let body = format!(r#"{{"code":200,"taken":{}}}"#, self.taken);
            let answer = FrameBuilder::msg(kind, frame.id(), frame.to(), frame.from())
                .code(200)
                .body(body.as_bytes())
                .build()
                .expect("a small frame");
            self.link.out.push(answer.bytes());
            self.flush();
        }
        if let Some(fault) = wish.fault {
            self.commit(fault);
        }
    }

    fn ctl(&mut self, up: &CtlUp) {
        let bytes = up.encode().expect("a small message");
        let frame = FrameBuilder::ctl(&bytes).build().expect("a small frame");
        self.link.out.push_ctl(&frame, Vec::new());
    }

    fn flush(&mut self) {
        self.link.acknowledge(true);
        while let Some(packet) = self.link.out.next_packet() {
            self.send(&packet.bytes);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let socket = self.socket.as_ref().filter(|_| !self.ended);
        let sent = socket.map(|mut socket| socket.write_all(bytes));
        self.ended |= !matches!(sent, Some(Ok(())));
    }

    /// Sends a descriptor with a message that is in order but for that.
    fn hand_over(&mut self) {
        let bytes = CtlUp::Loaded.encode().expect("a small message");
        let frame = FrameBuilder::ctl(&bytes).build().expect("a small frame");
        let own = std::io::stdin().as_fd().try_clone_to_owned().expect("room for one more");
        self.link.out.push_ctl(&frame, vec![own]);
        let packet = self.link.out.next_packet().expect("just pushed");
        let fds: Vec<_> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
        let socket = self.socket.as_ref().expect("open").as_fd();
        self.ended |= sys::send_packet(socket, &packet.bytes, &fds).is_err();
    }

    fn commit(&mut self, fault: Fault) {
        match fault {
            Fault::Refuse => self.refuse(),
            Fault::Exit => self.ended = true,
            Fault::Fail => {
                self.status = FAILED;
                self.ended = true;
            }
            Fault::Abort => std::process::abort(),
            Fault::Stall => stall(),
            Fault::Garbage => self.send(&[0xa5; 100]),
            Fault::Descriptor => self.hand_over(),
            Fault::Cut => {
                let whole = FrameBuilder::ctl(b"cut").build().expect("a small frame");
                let bytes = whole.bytes();
                self.send(&bytes[..bytes.len() - 1]);
                stall();
            }
            Fault::Close => {
                drop(self.socket.take());
                stall();
            }
            Fault::HalfClose => {
                let socket: OwnedFd = self.socket.take().expect("open").into();
                let socket = UnixStream::from(socket);
                socket.shutdown(Shutdown::Write).expect("an open link");
                stall();
            }
            Fault::Version => {
                let mut hello = Hello { role: 1, engine: 0, build: [0; 20] }.to_bytes();
                // The lowest and the highest version it speaks.
                hello[4..8].copy_from_slice(&[9, 0, 9, 0]);
                let frame = FrameBuilder::new(Kind::Hello).body(&hello).build().expect("small");
                self.send(frame.bytes());
                stall();
            }
            Fault::Deaf | Fault::Numb => self.habits.push(fault),
            Fault::Spin => loop {
                std::hint::spin_loop();
            },
            Fault::Memory => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(vec![1; BITE]);
                }
            }
        }
    }
}

fn stall() -> ! {
    loop {
        std::thread::park();
    }
}

/// What a catalogue could have had.
fn descriptor() -> Descriptor {
    Descriptor {
        name: "TestStub".to_owned(),
        version: "0.1".to_owned(),
        interworking: false,
        constraints: Vec::new(),
        configuration: "{}".to_owned(),
        wanted: Vec::new(),
        signed: false,
        resources: Vec::new(),
        data_objects: Vec::new(),
    }
}
