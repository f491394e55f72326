"""A news site for students, in Django. The lines marked ``# reading time`` are all that counting takes."""
