//! The receiving edge: what a frame is held to before it becomes JSON again.
//!
//! The router never looks into a body, and what a worker says of its own body is only as good as
//! the worker. So the edge that hands a message to a component or an application looks once more:
//! the body is one JSON value, and it names nobody as its source for whom the sender was not
//! checked.

use super::body_facts;
use crate::address::Address;
use crate::frame::{ExtTag, FrameRef};
use crate::reason::Reason;

/// Whether the frame may be written as JSON.
///
/// # Errors
/// [`Reason::Decoding`] if its body is not one JSON value within the bound of depth, or two readers
/// could disagree about whom it names; [`Reason::ForgedSource`] if it names a source that the
/// sender's edge did not say, so that nobody has checked it.
pub fn received(frame: &FrameRef<'_>) -> Result<(), Reason> {
    let body = std::str::from_utf8(frame.body()).map_err(|_e| Reason::Decoding)?;
    let facts = body_facts(body).ok_or(Reason::Decoding)?;
    let checked = |claim: &String| {
        let canonical = Address::parse(claim);
        let claim = canonical.as_ref().map_or(claim.as_str(), Address::as_str);
        let said = frame.ext().map_while(Result::ok).filter(|ext| ext.tag == ExtTag::Source);
        said.filter_map(|ext| std::str::from_utf8(ext.value).ok()).any(|said| {
            said == claim || Address::parse(said).is_ok_and(|said| said.as_str() == claim)
        })
    };
    if facts.claims.iter().all(checked) { Ok(()) } else { Err(Reason::ForgedSource) }
}

#[cfg(test)]
mod tests {
    use super::received;
    use crate::frame::{ExtTag, FrameBuilder};
    use crate::limits::JSON_DEPTH_MAX;
    use crate::reason::Reason;

    const ALICE: &str = "hyperty://home.example/alice";

    fn judged(body: &str, said: &[&str]) -> Result<(), Reason> {
        let from = "hyperty://far.example/x";
        let mut frame = FrameBuilder::msg(2, "1", from, ALICE).body(body.as_bytes());
        for source in said {
            frame = frame.ext(ExtTag::Source, source.as_bytes());
        }
        received(&frame.build().unwrap().view().unwrap())
    }

    #[test]
    fn attack_014_a_source_that_the_senders_edge_did_not_say_is_forged() {
        for member in ["source", "subscriber", "reporter"] {
            let body = format!(r#"{{"{member}":"{ALICE}"}}"#);
            assert_eq!(judged(&body, &[]), Err(Reason::ForgedSource), "{member}");
            assert_eq!(judged(&body, &["hyperty://far.example/x"]), Err(Reason::ForgedSource));
            assert_eq!(judged(&body, &[ALICE]), Ok(()));
        }
        let spelt = r#"{"source":"HYPERTY://Home.example/alice/"}"#;
        assert_eq!(judged(spelt, &[]), Err(Reason::ForgedSource));
        assert_eq!(judged(spelt, &[ALICE]), Ok(()), "the application's edge says it canonically");
        assert_eq!(
            judged(spelt, &["HYPERTY://Home.example/alice/"]),
            Ok(()),
            "a worker's as it is"
        );
        assert_eq!(judged(r#"{"source":"nonsense"}"#, &[]), Err(Reason::ForgedSource));
    }

    #[test]
    fn attack_014_a_source_that_is_there_twice_is_no_body() {
        let body = format!(r#"{{"source":"hyperty://far.example/x","sourc\u0065":"{ALICE}"}}"#);
        assert_eq!(judged(&body, &["hyperty://far.example/x"]), Err(Reason::Decoding));
    }

    #[test]
    fn a_body_that_is_not_one_value_or_too_deep_is_no_body() {
        let deep = "[".repeat(JSON_DEPTH_MAX + 1) + &"]".repeat(JSON_DEPTH_MAX + 1);
        for bad in [r#"1,"from":"hyperty://home.example/bob""#, "{}}\n{", "{", deep.as_str()] {
            assert_eq!(judged(bad, &[]), Err(Reason::Decoding), "{bad}");
        }
        assert_eq!(judged("", &[]), Ok(()));
        assert_eq!(judged("[1]", &[]), Ok(()));
    }
}
