"""The video player: its gradio component with payload, events and the routes of scripts, frames, masks and downloads
(`component`), the frames of videos in a form that browsers display (`proxy`), and users' video files (`decoding`).
"""
