//! Wakes live viewers: they sleep on a number, and read the files from where they are when it
//! changes. So a slow viewer costs nothing and loses nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Who waits for what. Clones are the same hub.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    topics: Arc<Mutex<Topics>>,
}

#[derive(Debug, Default)]
struct Topics {
    senders: HashMap<String, watch::Sender<u64>>,
    /// The number of topics at which the ones without subscribers are looked for.
    sweep_at: usize,
}

impl Topics {
    fn sweep(&mut self) {
        self.senders.retain(|_, sender| sender.receiver_count() > 0);
        // Doubling keeps the cost of sweeping below the cost of subscribing.
        self.sweep_at = self.senders.len() * 2 + 16;
    }
}

impl Hub {
    /// A hub without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A receiver that changes at every [`Hub::bump`] of this key from now on. Subscribe first,
    /// then read: what comes in between wakes you. To unsubscribe, drop it.
    pub fn subscribe(&self, key: &str) -> watch::Receiver<u64> {
        let mut topics = self.lock();
        if topics.senders.len() >= topics.sweep_at {
            topics.sweep();
        }
        if let Some(sender) = topics.senders.get(key) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        topics.senders.insert(key.to_owned(), sender);
        receiver
    }

    /// Wakes everybody who waits for this key. Cheap if nobody does.
    pub fn bump(&self, key: &str) {
        let mut topics = self.lock();
        let Some(sender) = topics.senders.get(key) else {
            return;
        };
        if sender.receiver_count() == 0 {
            topics.senders.remove(key);
        } else {
            sender.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Keys that somebody waits for.
    pub fn subscribed(&self) -> usize {
        let mut topics = self.lock();
        topics.sweep();
        topics.senders.len()
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        // Every change is whole before the lock is released, so a poisoned one is as good.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_wakes_the_subscribers_of_its_key_only() {
        let hub = Hub::new();
        let mut a = hub.subscribe("a");
        let mut a2 = hub.subscribe("a");
        let b = hub.subscribe("b");
        hub.clone().bump("a");
        hub.bump("a");
        hub.bump("nobody");
        assert!(a.has_changed().unwrap() && a2.has_changed().unwrap());
        assert_eq!((*a.borrow_and_update(), *a2.borrow_and_update()), (2, 2));
        assert!(!b.has_changed().unwrap());
        assert_eq!(hub.subscribed(), 2);
    }

    #[test]
    fn topics_vanish_when_nobody_subscribes() {
        let hub = Hub::new();
        drop(hub.subscribe("bumped"));
        hub.bump("bumped");
        assert!(hub.lock().senders.is_empty());
        let kept = hub.subscribe("kept");
        for i in 0..10_000 {
            drop(hub.subscribe(&format!("gone {i}")));
        }
        assert!(hub.lock().senders.len() < 64);
        hub.bump("kept");
        assert!(kept.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_sleeping_viewer_wakes() {
        let hub = Hub::new();
        let mut waiting = hub.subscribe("log");
        let viewer = tokio::spawn(async move { waiting.changed().await.is_ok() });
        hub.bump("log");
        assert!(viewer.await.unwrap());
    }
}
