"""POSIX ACLs that say more than a mode can, as extended attributes hold them."""

ACL = bytes.fromhex(
    "02000000 0100 0600 ffffffff 0200 0400 07000000 0400 0400 ffffffff"
    "1000 0400 ffffffff 2000 0400 ffffffff"
)
ACL_OF_DIRECTORIES = bytes.fromhex(
    "02000000 0100 0700 ffffffff 0200 0500 07000000 0400 0500 ffffffff"
    "1000 0500 ffffffff 2000 0500 ffffffff"
)
