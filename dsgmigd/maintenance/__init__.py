"""What administrators do after publication: log, blame, repair, doctor, ledger, custody.

Owns the commands that read a published dataset's own metadata, and the search for leftovers.
Guarantees: history and blame write nothing; repair and doctor change only what dsgmigd made.
Raises: TargetMissing, NoSnapshots, MetadataDamaged, TargetChanged and the errors of the rooms
below.
Start reading in `newest_snapshot`, then `history` and `doctor.doctor`. Only cli imports it.
"""

FACE = (
    "doctor.doctor",
    "doctor.leftover",
    "evidenced",
    "history",
    "ledger_check",
    "newest_snapshot",
    "repair",
)
