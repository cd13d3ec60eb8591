pub(crate) mod recorded;

use super::*;

fn absent(place: &str) -> Found {
    Err(PlatformError::Absent { place: place.to_owned() })
}

fn denied(place: &str) -> Found {
    Err(PlatformError::PermissionDenied { place: place.to_owned() })
}

#[derive(Debug)]
struct Some;

impl Platform for Some {
    fn format(&self) -> EvidenceFormat {
        EvidenceFormat::AmdSevSnp
    }

    fn evidence(&self, _: &[u8; 64]) -> Result<Evidence, PlatformError> {
        Err(PlatformError::Malformed("nothing".to_owned()))
    }
}

#[test]
fn without_a_device_both_places_are_named() {
    let Err(PlatformError::Absent { place }) = detect() else {
        println!("skipped: this machine has a device");
        return;
    };
    assert!(place.contains(CONFIGFS_ROOT) && place.contains(GUEST_DEVICE), "{place}");
}

#[test]
fn the_guest_device_serves_where_configfs_is_missing_or_closed() {
    for configfs in [absent, denied] {
        assert!(either(|| configfs("tsm"), || Ok(Box::new(Some))).is_ok());
    }
    assert!(either(|| Ok(Box::new(Some)), || panic!("the device is not needed")).is_ok());
    let busy = || Err(PlatformError::Busy { place: "tsm".to_owned() });
    let error = either(busy, || panic!("the same driver is behind the device")).unwrap_err();
    assert!(matches!(error, PlatformError::Busy { .. }));
}

#[test]
fn of_two_refusals_the_one_that_can_be_mended_is_told() {
    let told = |configfs: Found, device: Found| either(|| configfs, || device).unwrap_err().to_string();
    assert!(told(absent("tsm"), denied("dev")).starts_with("dev refuses access"));
    assert!(told(denied("tsm"), absent("dev")).starts_with("tsm refuses access"));
    assert!(told(denied("tsm"), denied("dev")).starts_with("tsm or dev refuses access"));
    assert!(told(absent("tsm"), absent("dev")).starts_with("no SEV-SNP device at tsm or dev"));
}
