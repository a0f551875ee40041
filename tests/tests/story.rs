//! The main thing, from end to end.

use e2e::{story, world};

#[test]
fn the_bundle_holds_what_was_gone_before_the_alert() {
    world::inside("the_bundle_holds_what_was_gone_before_the_alert", || {
        story::tell(|sentence| println!("{sentence}"))?;
        Ok(())
    });
}
