//! A component without an engine, for benchmarks: each message goes back as its own response.

use crate::port::{Event, Port, PortError};
use protocol::ctl::{CtlDown, CtlUp};
use protocol::frame::{Frame, FrameBuilder, FrameError, FrameRef, flags};
use protocol::message::MessageType;

/// Code of every answer.
const OK: u16 = 200;

/// Serves until the link ends or the component is removed.
///
/// # Errors
/// The link cannot go on.
pub(crate) async fn serve(port: &mut Port) -> Result<(), PortError> {
    port.send_ctl(&CtlUp::Loaded, Vec::new())?;
    port.send_ctl(&CtlUp::Activated { name: "echo".to_owned() }, Vec::new())?;
    port.flush()?;
    while let Some(event) = port.next().await? {
        let mut event = Some(event);
        while let Some(now) = event {
            match now {
                Event::Msg(frame) => {
                    if let Some(answer) = answer(&frame.view()?)? {
                        port.send(&answer)?;
                    }
                    port.disposed(&frame);
                }
                Event::Ping(body) => port.pong(&body),
                Event::Ctl(CtlDown::Remove { .. }, _) => {
                    port.send_ctl(&CtlUp::Removed, Vec::new())?;
                    return port.bye().await;
                }
                Event::Welcome(_) | Event::Ctl(..) => {}
            }
            event = port.try_next()?;
        }
        port.flush()?;
    }
    Ok(())
}

/// The same message with its ends exchanged; responses are not answered.
fn answer(message: &FrameRef<'_>) -> Result<Option<Frame>, FrameError> {
    let response = MessageType::Response.as_u8();
    if message.header.mtype == response {
        return Ok(None);
    }
    FrameBuilder::msg(response, message.id(), message.to(), message.from())
        .flag_if(flags::ID_NUM, message.has(flags::ID_NUM))
        .code(OK)
        .body(message.body())
        .build()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::answer;
    use protocol::frame::{FrameBuilder, flags};

    #[test]
    fn an_answer_has_the_ends_exchanged_and_a_response_gets_none() {
        let read = FrameBuilder::msg(2, "7", "hyperty://a.example/x", "hyperty://b.example/y")
            .flag(flags::ID_NUM | flags::REPLY)
            .body(b"{\"a\":1}")
            .build()
            .unwrap();
        let echoed = answer(&read.view().unwrap()).unwrap().unwrap();
        let view = echoed.view().unwrap();
        assert_eq!((view.id(), view.header.mtype, view.header.code), ("7", 7, 200));
        assert_eq!((view.from(), view.to()), ("hyperty://b.example/y", "hyperty://a.example/x"));
        assert_eq!(view.body(), b"{\"a\":1}");
        assert!(view.has(flags::ID_NUM) && !view.has(flags::REPLY));
        assert_eq!(answer(&view).unwrap(), None);
    }
}
