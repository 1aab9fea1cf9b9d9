"""What an ultrasound machine burnt into its pictures: callipers in colour; crosses, lines and letters in grey."""
