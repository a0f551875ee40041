//! Waiting for a sign, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a sign is looked for.
const BEAT: Duration = Duration::from_millis(10);

/// Calls `look` until it answers something, at most for `patience`.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if begun.elapsed() >= patience {
            bail!("waited {patience:?} for {what}, in vain");
        }
        thread::sleep(BEAT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_the_sign_or_says_what_it_waited_for() {
        let mut looks = 0;
        let third = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third.unwrap(), 3);
        let never = until::<()>("rain", Duration::ZERO, || Ok(None)).unwrap_err();
        assert!(never.to_string().contains("rain"));
    }
}
