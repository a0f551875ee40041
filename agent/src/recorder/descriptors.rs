//! How many descriptors the recorder may have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process can count on.
const LEAST: usize = 1024;
/// More are not needed.
const MOST: usize = 20_480;

/// Raises the limit as far as it goes without privilege; what it is now, between 1,024 and 20,480.
pub(super) fn raise() -> usize {
    let resource = Resource::RLIMIT_NOFILE;
    let Ok((soft, hard)) = getrlimit(resource) else { return LEAST };
    let now = match setrlimit(resource, hard, hard) {
        Ok(()) => hard,
        Err(failure) => {
            tracing::warn!("the limit of open files stays at {soft}: {failure}");
            soft
        }
    };
    usize::try_from(now).unwrap_or(MOST).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_raised_and_bounded() {
        let limit = raise();
        assert!((LEAST..=MOST).contains(&limit));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
