//! Compares a rendition's init segment with the plan.

use media::{Codec, fmp4, ladder::Rung};

/// The codec and the picture size must be those of the rung.
pub(super) fn as_planned(rung: &Rung, init: &[u8]) -> Result<(), String> {
    let info = fmp4::init_info(init).map_err(|error| format!("init segment: {error}"))?;
    let (width, height) = (info.width, info.height);
    if Codec::of_rfc6381(&info.codec) != Some(rung.codec) {
        return Err(format!(
            "init segment: the codec is {}, not {} as planned",
            info.codec, rung.codec
        ));
    }
    if (width, height) != (rung.width, rung.height) {
        let (planned_width, planned_height) = (rung.width, rung.height);
        return Err(format!(
            "init segment: the picture size is {width}x{height}, not {planned_width}x{planned_height} as planned"
        ));
    }
    Ok(())
}
