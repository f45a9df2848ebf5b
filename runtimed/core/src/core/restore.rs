//! What is kept in the store, and how it comes back.

use super::Core;
use crate::effect::Effect;
use crate::store::{Change, ClaimRow, Record};

impl Core {
    /// Keeps a change for ever.
    pub(crate) fn persist(&mut self, change: Change) {
        self.bus.out.push(Effect::Persist(Box::new(change)));
    }

    /// Takes back what was kept.
    pub(super) fn restore(&mut self, rows: Vec<Record>) {
        let (mut claims, mut subscriptions) = (Vec::<ClaimRow>::new(), Vec::new());
        let (mut stubs, mut sandboxes) = (Vec::new(), Vec::new());
        let (mut blocks, mut reuse) = (Vec::new(), Vec::new());
        let mut leases = Vec::new();
        let mut hyperties = Vec::new();
        for row in rows {
            match row {
                Record::Claim(row) => claims.push(row),
                Record::Subscription(row) => subscriptions.push(row),
                Record::Stub(row) => stubs.push(row),
                Record::Sandbox(row) => sandboxes.push(row),
                Record::Block(row) => blocks.push(row),
                Record::Reuse(row) => reuse.push(row),
                Record::Lease(row) => leases.push(row),
                Record::Hyperty(row) => hyperties.push(row),
                // The shell's own, or of parts that do not read them yet.
                Record::Runtime(_)
                | Record::Object(_)
                | Record::Outbox(_)
                | Record::Dead(_)
                | Record::Code(_) => {}
            }
        }
        self.restore_addresses(&blocks, &reuse);
        for row in &leases {
            self.restore_lease(row);
        }
        // The oldest first: it is the first to go if there are too many.
        claims.sort_by_key(|row| row.seq);
        for row in &claims {
            self.restore_claim(row);
        }
        let now = self.bus.now;
        self.ua.restore_sandboxes(now, &sandboxes, &mut self.ua_out);
        self.ua.restore_stubs(now, stubs, &mut self.ua_out);
        self.ua.restore_hyperties(now, hyperties, &mut self.ua_out);
        for row in &subscriptions {
            self.restore_subscription(row);
        }
        self.load_configured();
    }
}
