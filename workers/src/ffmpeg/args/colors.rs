//! Converts the colors of a source to SDR in BT.709: HDR, the wide gamut of BT.2020, and RGB.
//!
//! Other sources keep their matrix, primaries and transfer characteristics, which the encoders
//! signal. Tags may contradict one another: each is taken as it is, and only a missing one is
//! inferred from the others. Names and numbers are those of ITU-T H.273.

use media::source::VideoTrack;

/// Transfer characteristics that need tone mapping.
const HDR_TRANSFERS: [&str; 2] = ["smpte2084", "arib-std-b67"];
/// Transfer characteristics of SDR in BT.2020.
const WIDE_TRANSFERS: [&str; 2] = ["bt2020-10", "bt2020-12"];
/// The matrices of BT.2020.
const WIDE_MATRICES: [&str; 2] = ["bt2020nc", "bt2020c"];
/// The primaries of BT.2020.
const WIDE_PRIMARIES: &str = "bt2020";

/// Matrices that the filter `zscale` reads from any transfer characteristics, by FFmpeg's name and
/// by the filter's.
const MATRICES: [(&str, &str); 7] = [
    ("bt709", "bt709"),
    ("fcc", "fcc"),
    ("bt470bg", "bt470bg"),
    ("smpte170m", "smpte170m"),
    // The filter's own name of it is misspelled in FFmpeg 5.
    ("smpte240m", "7"),
    ("ycgco", "ycgco"),
    ("bt2020nc", "bt2020nc"),
];
/// Primaries that `zscale` reads.
const PRIMARIES: [&str; 9] = [
    "bt709",
    "bt470m",
    "bt470bg",
    "smpte170m",
    "smpte240m",
    "film",
    "bt2020",
    "smpte431",
    "smpte432",
];
/// Transfer characteristics of SDR that `zscale` reads.
const TRANSFERS: [&str; 6] =
    ["bt709", "smpte170m", "iec61966-2-1", "iec61966-2-4", "bt2020-10", "bt2020-12"];

/// Converts HDR, BT.2020 and RGB; `None` for a track that needs no conversion. It first scales to
/// `width` x `height`, the largest size that is needed, because conversions cost per pixel.
pub(super) fn to_bt709(track: &VideoTrack, (width, height): (u32, u32)) -> Option<String> {
    let scale = format!("scale={width}:{height}:flags=bicubic:out_range=tv");
    let rgb = is_rgb(&track.pixel_format);
    let hdr = HDR_TRANSFERS.contains(&track.transfer.as_str());
    let wide = WIDE_TRANSFERS.contains(&track.transfer.as_str())
        || WIDE_MATRICES.contains(&track.matrix.as_str())
        || track.primaries == WIDE_PRIMARIES;
    if !hdr && !wide {
        // The scaler's own choice is BT.601, and its output has no tag.
        return rgb.then(|| {
            format!("{scale}:out_color_matrix=bt709,format=yuv420p,setparams=colorspace=bt709")
        });
    }
    let scale =
        if rgb { format!("{scale}:out_color_matrix=bt2020,format=yuv444p10le") } else { scale };
    let input = input(track, hdr);
    Some(if hdr {
        format!(
            "{scale},zscale={input}:t=linear:p=bt709:npl=100,format=gbrpf32le,\
             tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        )
    } else {
        format!("{scale},zscale={input}:t=bt709:p=bt709:m=bt709:r=tv,format=yuv420p")
    })
}

/// The meaning of the pixels that `zscale` converts: the track's tags, or the usual ones.
fn input(track: &VideoTrack, hdr: bool) -> String {
    let stated = MATRICES.into_iter().find(|(name, _)| *name == track.matrix);
    let matrix = match stated {
        Some((_, matrix)) => matrix,
        // `zscale` reads constant luminance only from the transfer characteristics of BT.2020.
        None if track.matrix == "bt2020c" && WIDE_TRANSFERS.contains(&&*track.transfer) => {
            "bt2020c"
        }
        None => "bt2020nc",
    };
    let transfer = track.transfer.as_str();
    let transfer = if hdr || TRANSFERS.contains(&transfer) { transfer } else { "bt709" };
    let stated = PRIMARIES.contains(&track.primaries.as_str());
    let primaries = match track.primaries.as_str() {
        primaries if stated => primaries,
        // With another matrix than that of BT.2020, the gamut is rarely that of BT.2020.
        _ if hdr || WIDE_MATRICES.contains(&matrix) => WIDE_PRIMARIES,
        _ => "bt709",
    };
    format!("tin={transfer}:min={matrix}:pin={primaries}:rin=tv")
}

/// Whether FFmpeg's pixel format of this name is RGB.
fn is_rgb(pixel_format: &str) -> bool {
    ["rgb", "bgr", "gbr", "pal8"].iter().any(|part| pixel_format.contains(part))
}
