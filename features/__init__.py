"""From raw tables to user profiles: what was known of a user strictly before a moment."""
