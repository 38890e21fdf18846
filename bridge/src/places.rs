//! Places for connections: so many in all, and so many of one address, so that one cannot take them all.

use crate::limits::NEWS_PAUSE;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What somebody outside can repeat as often as he likes is told in the log now and then.
#[derive(Debug, Default)]
pub struct News(Mutex<Option<Instant>>);

impl News {
    /// Whether it is to be told again; then it is not for a while.
    pub fn is_news(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.is_none_or(|told| now.saturating_duration_since(told) >= NEWS_PAUSE);
        if news {
            *told = Some(now);
        }
        news
    }
}

/// The places of a listener, or of several.
#[derive(Debug)]
pub struct Places {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
    /// That somebody was refused.
    pub refusals: News,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    by: IpAddr,
}

impl Places {
    /// So many in all, and so many for one address.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default(), refusals: News::default() })
    }

    /// A place, if there is one.
    pub fn take(self: &Arc<Self>, by: IpAddr) -> Option<Place> {
        let by = network(by);
        let mut taken = self.taken();
        let own = taken.by.get(&by).copied().unwrap_or(0);
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by.insert(by, own + 1);
        Some(Place { places: self.clone(), by })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is counted as one: an address of IPv4, whichever way it comes in; of IPv6 a network of 64 bits, which is what one client has.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        match taken.by.get_mut(&self.by) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.by.remove(&self.by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_told_now_and_then() {
        let (news, now) = (News::default(), Instant::now());
        assert_eq!(
            [now, now, now + NEWS_PAUSE, now + NEWS_PAUSE].map(|at| news.is_news(at)),
            [true, false, true, false]
        );
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let places = Places::new(3, 2);
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let own = (places.take(ip(1)).unwrap(), places.take(ip(1)).unwrap());
        assert!(places.take(ip(1)).is_none() && places.take("::ffff:10.0.0.1".parse().unwrap()).is_none());
        let other = places.take(ip(2)).unwrap();
        assert!(places.take(ip(3)).is_none(), "all are taken");
        drop((own.0, other));
        assert!(places.take(ip(1)).is_some());
        drop(own.1);
        let of = |text: &str| places.take(text.parse().unwrap());
        let own = (of("2001:db8:0:1::1").unwrap(), of("2001:db8:0:1:ffff::2").unwrap());
        assert!(of("2001:db8:0:1::3").is_none(), "a network of 64 bits is one client");
        assert!(of("2001:db8:0:2::1").is_some());
        drop(own);
        assert!(places.taken().by.is_empty() && places.taken().all == 0);
    }
}
