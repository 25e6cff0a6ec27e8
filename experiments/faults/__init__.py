"""Does what is promised hold where inputs are bad and machines fail?"""
