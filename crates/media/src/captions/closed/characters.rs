//! The character sets of CEA-608 and CEA-708.

/// A character of the basic set of CEA-608: ASCII with exceptions.
pub(super) fn basic(code: u8) -> char {
    match code {
        0x27 => '’',
        0x2a => 'á',
        0x5c => 'é',
        0x5e => 'í',
        0x5f => 'ó',
        0x60 => 'ú',
        0x7b => 'ç',
        0x7c => '÷',
        0x7d => 'Ñ',
        0x7e => 'ñ',
        0x7f => '█',
        code => char::from(code),
    }
}

/// The special characters 0x30 to 0x3f of CEA-608; the space at 0x39 is transparent.
const SPECIAL: [char; 16] =
    ['®', '°', '½', '¿', '™', '¢', '£', '♪', 'à', ' ', 'è', 'â', 'ê', 'î', 'ô', 'û'];

/// The characters 0x20 to 0x3f of the two extended sets of CEA-608: Spanish, French and others;
/// Portuguese, German, Danish.
const EXTENDED: [[char; 32]; 2] = [
    [
        'Á', 'É', 'Ó', 'Ú', 'Ü', 'ü', '‘', '¡', '*', '\'', '—', '©', '℠', '•', '“', '”', 'À', 'Â',
        'Ç', 'È', 'Ê', 'Ë', 'ë', 'Î', 'Ï', 'ï', 'Ô', 'Ù', 'ù', 'Û', '«', '»',
    ],
    [
        'Ã', 'ã', 'Í', 'Ì', 'ì', 'Ò', 'ò', 'Õ', 'õ', '{', '}', '\\', '^', '_', '|', '~', 'Ä', 'ä',
        'Ö', 'ö', 'ß', '¥', '¤', '│', 'Å', 'å', 'Ø', 'ø', '┌', '┐', '└', '┘',
    ],
];

/// The special character of a code.
pub(super) fn special(code: u8) -> Option<char> {
    SPECIAL.get(usize::from(code.checked_sub(0x30)?)).copied()
}

/// The extended character of a code in one of the two sets.
pub(super) fn extended(set: usize, code: u8) -> Option<char> {
    EXTENDED.get(set)?.get(usize::from(code.checked_sub(0x20)?)).copied()
}

/// A character of the sets G2 and G3 of CEA-708; those that are not defined become underscores, as the
/// standard asks.
pub(super) fn extended_708(code: u8) -> char {
    match code {
        0x20 => ' ',
        0x21 => '\u{a0}',
        0x25 => '…',
        0x2a => 'Š',
        0x2c => 'Œ',
        0x30 => '█',
        0x31 => '‘',
        0x32 => '’',
        0x33 => '“',
        0x34 => '”',
        0x35 => '•',
        0x39 => '™',
        0x3a => 'š',
        0x3c => 'œ',
        0x3d => '℠',
        0x3f => 'Ÿ',
        0x76 => '⅛',
        0x77 => '⅜',
        0x78 => '⅝',
        0x79 => '⅞',
        0x7a => '│',
        0x7b => '┐',
        0x7c => '└',
        0x7d => '─',
        0x7e => '┘',
        0x7f => '┌',
        _ => '_',
    }
}

/// A character of the sets G0 and G1 of CEA-708: ASCII with a note, and Latin-1.
pub(super) fn basic_708(code: u8) -> char {
    if code == 0x7f { '♪' } else { char::from(code) }
}
