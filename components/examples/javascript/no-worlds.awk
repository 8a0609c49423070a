# Removes the worlds of a WIT file, with what is said above them.
/^(\/\/\/|@)/ { above = above $0 "\n"; next }
/^world / { inside = 1; above = "" }
!inside { printf "%s%s\n", above, $0; above = "" }
/^}/ { inside = 0 }
