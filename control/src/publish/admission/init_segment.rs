//! Compares a rendition's init segment with the plan.

use media::{
    Codec,
    fmp4::{self, InitInfo},
    ladder::Rung,
    surround::{self, SurroundCodec},
};

use crate::plan::Plan;

/// The properties that the plan gives an init segment.
#[derive(Clone, Debug)]
pub(super) enum Planned {
    /// A video rendition.
    Rung(Rung),
    /// An audio rendition with this number of channels.
    Audio(u32),
    /// A surround rendition.
    Surround(SurroundCodec),
}

impl Planned {
    /// The properties of `rendition`, if it is in the plan.
    pub(super) fn of(plan: &Plan, rendition: &str) -> Option<Self> {
        let rung = plan.rungs.iter().find(|rung| rung.name == rendition);
        let audio = || plan.audio.iter().find(|audio| audio.rendition() == rendition);
        let surround = || plan.surround.iter().find(|planned| planned.rendition() == rendition);
        rung.map(|rung| Self::Rung(rung.clone()))
            .or_else(|| audio().map(|audio| Self::Audio(audio.channels)))
            .or_else(|| surround().map(|planned| Self::Surround(planned.codec)))
    }
}

/// The codec must be the planned one, and the picture size or the number of channels, too.
pub(super) fn as_planned(planned: Option<&Planned>, init: &[u8]) -> Result<InitInfo, String> {
    let info = fmp4::init_info(init).map_err(|error| format!("init segment: {error}"))?;
    match planned {
        Some(Planned::Rung(rung)) => video(rung, &info)?,
        Some(Planned::Audio(channels)) => audio(SurroundCodec::Aac, &[*channels], &info)?,
        Some(Planned::Surround(SurroundCodec::Aac)) => {
            audio(SurroundCodec::Aac, &[surround::CHANNELS], &info)?;
        }
        // A copied track is in 5.1 or in 5.0.
        Some(Planned::Surround(codec)) => {
            audio(*codec, &[surround::CHANNELS, surround::CHANNELS - 1], &info)?;
        }
        None => {}
    }
    Ok(info)
}

fn video(rung: &Rung, info: &InitInfo) -> Result<(), String> {
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

fn audio(codec: SurroundCodec, channels: &[u32], info: &InitInfo) -> Result<(), String> {
    if info.codec != codec.rfc6381() {
        let planned = codec.rfc6381();
        return Err(format!("init segment: the codec is {}, not {planned} as planned", info.codec));
    }
    if !channels.contains(&info.channels) {
        let found = info.channels;
        return Err(format!("init segment: {found} channels, not {channels:?} as planned"));
    }
    Ok(())
}
