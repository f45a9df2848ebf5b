//! The reasons of a refusal: one token each, stable, with the code it is answered with.
//!
//! CONTRACT §5. `docs/errors.md` lists them; a test compares.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $token:literal;)+) => {
        /// Why the runtime refused, expired or failed a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The response code that this reason is answered with.
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// The stable token.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$name => $token,)+ }
            }

            /// What it means, one sentence for `docs/errors.md`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// What was sent is not a message.
    Malformed = 400, "malformed";
    /// The message has no type this runtime knows.
    UnknownType = 400, "unknown-type";
    /// The address does not parse.
    BadAddress = 400, "bad-address";
    /// The id is still pending for this sender.
    DuplicateId = 400, "duplicate-id";
    /// The sender does not own the address in `from`.
    Forged = 403, "forged";
    /// The sender may not speak for the address named in the body.
    ForgedSource = 403, "forged-source";
    /// A rule forbids this message.
    Policy = 403, "policy";
    /// The address cannot be claimed by an application.
    NotClaimable = 403, "not-claimable";
    /// The address belongs to somebody else.
    AddressTaken = 403, "address-taken";
    /// More addresses than one connection may claim.
    TooManyAddresses = 403, "too-many-addresses";
    /// Nobody has this address, and it would live here.
    UnknownAddress = 404, "unknown-address";
    /// Nothing leads to this address.
    NoRoute = 404, "no-route";
    /// The stub needs something that is not offered here.
    Constraint = 406, "constraint";
    /// No answer within the deadline.
    Deadline = 408, "deadline";
    /// The message is larger than the bound.
    TooLarge = 413, "too-large";
    /// More messages than the rate allows.
    Flood = 429, "flood";
    /// The built-in at this address does not do that.
    NotImplemented = 501, "not-implemented";
    /// The code does not match its digest or signature.
    Integrity = 502, "integrity";
    /// The source package does not decode.
    Decoding = 502, "decoding";
    /// The code is larger than the bound.
    CodeSize = 502, "code-size";
    /// The code did not load.
    Load = 502, "load";
    /// The code did not activate.
    Activation = 502, "activation";
    /// The catalogue cannot be reached.
    CatalogueDown = 503, "catalogue-down";
    /// The catalogue did not answer in time.
    CatalogueSlow = 503, "catalogue-slow";
    /// The catalogue has no stub for this domain.
    CatalogueAbsent = 503, "catalogue-absent";
    /// The catalogue's descriptor cannot be used.
    DescriptorUnusable = 503, "descriptor-unusable";
    /// The catalogue redirects to where it may not.
    RedirectRefused = 503, "redirect-refused";
    /// The sandbox did not reach the level demanded.
    SandboxRefused = 503, "sandbox-refused";
    /// No sandbox could be made.
    SandboxUnavailable = 503, "sandbox-unavailable";
    /// The stub took the message and died before it answered.
    StubDied = 503, "stub-died";
    /// The receiver does not take its messages fast enough.
    SlowConsumer = 503, "slow-consumer";
    /// The stub failed too often and rests.
    Quarantined = 503, "quarantined";
    /// The message node did not agree to a subscription.
    NodeRefused = 503, "node-refused";
    /// The other runtime cannot be reached.
    PeerDown = 503, "peer-down";
    /// The stub was removed.
    Undeployed = 503, "undeployed";
    /// Too many messages wait for this domain.
    ParkFull = 503, "park-full";
    /// The receiver's connection ended.
    ReceiverGone = 503, "receiver-gone";
    /// The runtime holds as much as it may.
    Overloaded = 503, "overloaded";
    /// The runtime is stopping.
    Stopping = 503, "stopping";
    /// The message cannot be kept durably here.
    NotDurable = 507, "not-durable";
    /// The message went round in a loop.
    Loop = 508, "loop";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::HashSet;

    #[test]
    fn every_token_is_unique_and_plain() {
        let tokens: HashSet<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        assert_eq!(tokens.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.token().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!((400..600).contains(&reason.code()), "{reason}");
        }
    }
}
